#include <stdexcept>
#include <xtgrad/datasets/idx.hpp>

#include "target.hpp"

std::vector<std::pair<std::string, std::string>> make_seeds() {
  const auto idx = [](const std::vector<char>& extents, const std::string& bytes) {
    std::string content{0, 0, 8, static_cast<char>(extents.size())};
    for (const char extent : extents) content += std::string{0, 0, 0, extent};
    return content + bytes;
  };
  return {{"labels.idx", idx({3}, std::string{0, 1, 2})},
          {"images.idx", idx({2, 2, 3}, std::string{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})},
          {"empty.idx", idx({0, 2, 3, 4}, "")}};
}

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
