#include <stdexcept>
#include <xtgrad/datasets/idx.hpp>

#include "target.hpp"

bool read_as_file(const std::string& content) try {
  const xtgrad::Idx idx = xtgrad::parse_idx(content, "file");
  promise(!idx.shape.empty() && idx.shape.size() <= 4, "there are 1 to 4 axes");
  promise(idx.bytes.size() == xtgrad::size_of(idx.shape), "there are as many bytes as the shape says");
  promise(content.ends_with(idx.bytes), "the bytes are those of the file");
  return true;
} catch (const std::runtime_error& error) {
  promise(std::string(error.what()).starts_with("file: "), "an error names the file");
  return false;
}
