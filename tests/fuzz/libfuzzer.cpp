// The entry that libFuzzer calls.
#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  read_as_file(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
