#include "xtgrad/checkpoint/safetensors.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>

#include "xtgrad/check_file.hpp"

namespace xtgrad {
namespace {

static_assert(std::endian::native == std::endian::little, "values are written as they lie in memory");

using Json = nlohmann::ordered_json;

constexpr std::size_t kLength = 8;  // bytes of the header's length
constexpr std::uint64_t kLongestHeader = 100'000'000;
constexpr std::size_t kLongestName = 4096;
constexpr const char* kMetadata = "__metadata__";

// Bytes to an element; 0 for a type that the format does not know.
std::size_t width_of(const std::string& dtype) {
  static const std::map<std::string, std::size_t> widths = {
      {"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"I64", 8}, {"I32", 4},
      {"I16", 2}, {"I8", 1},  {"U64", 8}, {"U32", 4},  {"U16", 2},     {"U8", 1},      {"BOOL", 1}};
  const auto found = widths.find(dtype);
  return found == widths.end() ? 0 : found->second;
}

// A name in a message: what is long or cannot be printed is cut.
std::string shown(std::string name) {
  if (name.size() > 60) name = name.substr(0, 57) + "...";
  for (char& c : name)
    if (static_cast<unsigned char>(c) < ' ') c = '?';
  return "'" + name + "'";
}

// Builds the entries as the header is parsed, and refuses what does not belong there.
class Header final : public nlohmann::json_sax<Json> {
 public:
  explicit Header(const std::string& file) : file_(file) {}

  std::vector<Safetensors::Entry> tensors;
  Metadata metadata;

  bool start_object(std::size_t) override {
    if (depth_ == 2 || in_array_) fail("{} holds an object, which does not belong there", place());
    if (++depth_ == 2) fields_.clear(), entry_ = {name_, "", {}, 0, 0};
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1 && name_ != kMetadata) {
      for (const char* field : {"dtype", "shape", "data_offsets"})
        if (!fields_.contains(field)) fail("{} has no {}", place(), field);
      finish();
    }
    return true;
  }
  bool key(std::string& key) override {
    if (depth_ == 1) {
      if (key.empty() || key.size() > kLongestName)
        fail("a name has {} bytes, expected 1 to {}", key.size(), kLongestName);
      name_ = key;
      if (!names_.insert(key).second) fail("{} is there twice", place());
    } else {
      field_ = key;
      if (!fields_.insert(key).second) fail("{} has {} twice", place(), shown(key));
      if (name_ != kMetadata && key != "dtype" && key != "shape" && key != "data_offsets")
        fail("{} has a field {}, expected dtype, shape and data_offsets", place(), shown(key));
    }
    return true;
  }
  bool string(std::string& text) override {
    if (depth_ == 2 && name_ == kMetadata) {
      metadata[field_] = text;
    } else {
      if (depth_ != 2 || field_ != "dtype" || in_array_) unexpected("a string");
      if (width_of(text) == 0) fail("{} has the dtype {}, which is not known", place(), shown(text));
      entry_.dtype = text;
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || name_ == kMetadata || field_ == "dtype" || in_array_) unexpected("an array");
    in_array_ = true;
    numbers_.clear();
    return true;
  }
  bool number_unsigned(std::uint64_t value) override {
    if (!in_array_) unexpected("a number");
    if (numbers_.size() == memory::kMaxRank)
      fail("{} has more than {} numbers in its {}", place(), memory::kMaxRank, field_);
    numbers_.push_back(value);
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    if (field_ == "shape") {
      for (const std::uint64_t extent : numbers_) entry_.shape.push_back(extent);
    } else {
      if (numbers_.size() != 2) fail("{} has {} data_offsets, expected 2", place(), numbers_.size());
      entry_.begin = numbers_[0];
      entry_.end = numbers_[1];
    }
    return true;
  }
  bool number_integer(std::int64_t value) override {
    if (!in_array_) unexpected("a number");
    fail("{} has {} in its {}, expected whole numbers from 0 up", place(), value, field_);
  }
  bool number_float(double, const std::string& text) override {
    if (!in_array_) unexpected("a number");
    fail("{} has {} in its {}, expected whole numbers from 0 up", place(), shown(text), field_);
  }
  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception& error) override {
    // Of nlohmann's "[json.exception.parse_error.101] parse error at ...: REASON" the reason.
    const std::string_view what = error.what();
    const std::size_t reason = what.find(": ");
    fail("the header is not JSON at its byte {}: {}", at, what.substr(reason == what.npos ? 0 : reason + 2));
  }

 private:
  template <class... Args> [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_file(file_, format, std::forward<Args>(args)...);
  }
  [[noreturn]] void unexpected(const char* what) const {
    fail("{} holds {}, which does not belong there", place(), what);
  }
  std::string place() const {
    if (names_.empty()) return "the header";
    return name_ == kMetadata ? kMetadata : "tensor " + shown(name_);
  }

  // The end of a tensor's object: do its fields agree?
  void finish() {
    std::uint64_t bytes = width_of(entry_.dtype);
    // Extents of 0 apart, so that no order of the axes hides an overflow.
    for (const std::size_t extent : entry_.shape)
      if (__builtin_mul_overflow(bytes, std::max<std::size_t>(extent, 1), &bytes))
        fail("{} has the shape {}, which is more than can be counted", place(), entry_.shape);
    if (std::ranges::count(entry_.shape, 0U) > 0) bytes = 0;
    if (entry_.begin > entry_.end) fail("{} begins at {} and ends at {}", place(), entry_.begin, entry_.end);
    if (entry_.end - entry_.begin != bytes)
      fail("{} has {} bytes, but {} of shape {} takes {}", place(), entry_.end - entry_.begin, entry_.dtype,
           entry_.shape, bytes);
    tensors.push_back(entry_);
  }

  const std::string& file_;
  int depth_ = 0;
  bool in_array_ = false;
  std::string name_, field_;
  std::set<std::string> names_, fields_;
  std::vector<std::uint64_t> numbers_;
  Safetensors::Entry entry_;
};

// The length of the header, from the first bytes of a file of `size` bytes.
std::size_t header_length(std::string_view begin, std::uint64_t size, const std::string& file) {
  check_file(size >= kLength, file, "it has {} bytes, and the length of a safetensors header takes {}", size, kLength);
  std::uint64_t length = 0;
  std::memcpy(&length, begin.data(), kLength);
  check_file(length > 0, file, "the header is empty");
  check_file(length <= kLongestHeader, file,
             "the header would have {} bytes, and {} is the limit; is this a safetensors "
             "file?",
             length, kLongestHeader);
  check_file(length <= size - kLength, file,
             "the header would have {} bytes, but only {} follow; the file is truncated", length, size - kLength);
  return length;
}

// The tensors of a header, in the order of their bytes, of which there are `size`; and the metadata.
Header parse_header(std::string_view text, std::uint64_t size, const std::string& file) {
  check_file(text.starts_with('{'), file, "the header does not begin with {{");
  // Which the parser would take for the end.
  check_file(text.find('\0') == text.npos, file, "the header is not JSON: it holds a byte 0");
  Header header(file);
  Json::sax_parse(text.begin(), text.end(), &header);
  auto& tensors = header.tensors;
  std::ranges::stable_sort(tensors, {}, [](const auto& t) { return std::pair(t.begin, t.end); });
  std::size_t end = 0;
  for (const Safetensors::Entry& t : tensors) {
    check_file(t.end <= size, file, "tensor {} ends at byte {}, but the data ends at {}; the file is truncated",
               shown(t.name), t.end, size);
    check_file(t.begin >= end, file, "tensor {} overlaps the one before, which ends at byte {}", shown(t.name), end);
    check_file(t.begin == end, file, "{} bytes before tensor {} belong to none", t.begin - end, shown(t.name));
    end = t.end;
  }
  check_file(end == size, file, "{} bytes at the end belong to no tensor", size - end);
  return header;
}

// Where the eight digits of the checksum stand in the content; npos if nowhere.
std::size_t find_checksum(std::string_view content) {
  const std::string before = fmt::format("\"{}\":\"", Safetensors::kChecksum);  // in no text: its quotes are escaped
  const std::size_t at = content.find(before);
  return at == content.npos || content.size() < at + before.size() + 8 ? content.npos : at + before.size();
}

std::string checksum(std::string_view content, std::size_t digits) {
  const auto add = [](uLong crc, std::string_view bytes) {
    return ::crc32_z(crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  };
  return fmt::format("{:08x}", add(add(add(0, content.substr(0, digits)), "00000000"), content.substr(digits + 8)));
}

}  // namespace

Safetensors::Safetensors(const std::string& file, std::string&& content, std::size_t data, std::vector<Entry>&& tensors,
                         Metadata&& metadata)
    : file_(file),
      content_(std::move(content)),
      data_(data),
      tensors_(std::move(tensors)),
      metadata_(std::move(metadata)) {
  const auto sum = metadata_.find(kChecksum);
  if (sum == metadata_.end()) return;
  const std::size_t digits = find_checksum(std::string_view(content_).substr(0, data_));
  check_file(digits != std::string::npos && checksum(content_, digits) == sum->second, file,
             "the checksum does not match: the file is damaged, or another program has rewritten it");
}

Safetensors Safetensors::parse(std::string content, const std::string& file) {
  const std::size_t data = kLength + header_length(content, content.size(), file);
  Header header = parse_header(std::string_view(content).substr(kLength, data - kLength), content.size() - data, file);
  return {file, std::move(content), data, std::move(header.tensors), std::move(header.metadata)};
}

Safetensors Safetensors::read(const std::filesystem::path& path) {
  const std::string file = path.string();
  struct Close {
    int fd;
    ~Close() { ::close(fd); }
  } const stream{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  const auto check_read = [&](bool done) {
    check_file(done, file, "cannot be read: {}", std::generic_category().message(errno));
  };
  check_read(stream.fd >= 0);
  struct stat status = {};
  check_read(::fstat(stream.fd, &status) == 0);
  check_file(S_ISREG(status.st_mode), file, "cannot be read: it is not a file");
  const auto size = static_cast<std::size_t>(status.st_size);

  std::string content;
  const auto read_up_to = [&](std::size_t end) {
    std::size_t at = content.size();
    try {
      content.resize(end);
    } catch (const std::bad_alloc&) {
      fail_file(file, "its {} bytes do not fit into memory", size);
    }
    while (at < end) {
      const ssize_t n = ::read(stream.fd, content.data() + at, end - at);
      check_read(n >= 0 || errno == EINTR);
      check_file(n != 0, file, "it became shorter while it was read");
      if (n > 0) at += static_cast<std::size_t>(n);
    }
  };
  read_up_to(std::min(size, kLength));
  const std::size_t data = kLength + header_length(content, size, file);
  read_up_to(data);
  Header header = parse_header(std::string_view(content).substr(kLength), size - data, file);
  read_up_to(size);
  return {file, std::move(content), data, std::move(header.tensors), std::move(header.metadata)};
}

void Safetensors::drop_training() {
  std::erase_if(tensors_, [](const Entry& entry) {
    return entry.name.starts_with("optimizer.") || entry.name.starts_with("training.");
  });
}

template <class T> std::string to_safetensors(const StateDict<T>& values, Metadata metadata) {
  struct Value {
    const char* dtype;
    Shape shape;
    std::string_view bytes;
  };
  std::vector<std::pair<std::string, Value>> tensors;
  std::set<std::string> names{kMetadata};
  for (const auto& [name, value] : values) {
    check(!name.empty() && name.size() <= kLongestName, "to_safetensors: a name has {} bytes, expected 1 to {}",
          name.size(), kLongestName);
    check(names.insert(name).second, "to_safetensors: {} is there twice", shown(name));
    const auto add = [&, &name = name](const char* dtype, const Shape& shape, const auto* data) {
      tensors.push_back({name, {dtype, shape, {reinterpret_cast<const char*>(data), size_of(shape) * sizeof(*data)}}});
    };
    if (const auto* tensor = std::get_if<Tensor<T>>(&value))
      add(sizeof(T) == 4 ? "F32" : "F64", tensor->shape(), tensor->data());
    else if (const auto* count = std::get_if<std::int64_t>(&value))
      add("I64", {}, count);
    else if (const auto* number = std::get_if<double>(&value))
      add("F64", {}, number);
    else
      add("I64", std::get<Labels>(value).shape(), std::get<Labels>(value).data());
  }
  // The widest first, so that each lies at a multiple of its width.
  std::ranges::stable_sort(tensors, std::greater(), [](const auto& t) { return width_of(t.second.dtype); });

  if (const auto sum = metadata.find(Safetensors::kChecksum); sum != metadata.end()) sum->second = "00000000";
  Json header = Json::object();
  // Appended: operator[] would look for each of these names, which are different, among all before it.
  auto& members = header.get_ref<Json::object_t&>();
  if (!metadata.empty()) members.emplace_back(kMetadata, metadata);
  std::size_t end = 0;
  for (const auto& [name, t] : tensors) {
    const std::size_t begin = std::exchange(end, end + t.bytes.size());
    members.emplace_back(name, Json{{"dtype", t.dtype},
                                    {"shape", std::vector<std::size_t>(t.shape.begin(), t.shape.end())},
                                    {"data_offsets", {begin, end}}});
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::type_error& error) {
    fail("to_safetensors: a name or a text is not UTF-8");
  }
  text.resize((text.size() + kLength - 1) / kLength * kLength, ' ');
  check(text.size() <= kLongestHeader, "to_safetensors: the header takes {} bytes, and {} is the limit", text.size(),
        kLongestHeader);
  const std::uint64_t length = text.size();
  std::string content(reinterpret_cast<const char*>(&length), kLength);
  content.reserve(kLength + text.size() + end);
  content += text;
  for (const auto& [name, t] : tensors) content += t.bytes;
  if (metadata.contains(Safetensors::kChecksum)) {
    const std::size_t digits = find_checksum(content);
    content.replace(digits, 8, checksum(content, digits));
  }
  return content;
}

template <class T> void load_state(const std::vector<StateEntry<T>>& places, const Safetensors& file) {
  std::map<std::string, std::size_t> kinds;
  for (const StateEntry<T>& place : places) kinds[place.name] = place.place.index();
  StateDict<T> values;
  std::string problems;
  for (const Safetensors::Entry& entry : file.tensors()) {
    const auto kind = kinds.find(entry.name);
    if (kind == kinds.end()) {
      values.emplace_back(entry.name, std::int64_t{0});  // which is unexpected, whatever it is
      continue;
    }
    // The place is a tensor (0), a count (1), a number (2) or a generator (3).
    const bool is_number = kind->second == 1 || kind->second == 2;
    const char* const dtype = kind->second % 2 == 1 ? "I64" : kind->second == 0 && sizeof(T) == 4 ? "F32" : "F64";
    if (entry.dtype != dtype || (is_number && !entry.shape.empty())) {
      problems += fmt::format("; {} is {} of shape {}, expected {}{}", shown(entry.name), entry.dtype, entry.shape,
                              dtype, is_number ? " of shape ()" : "");
      continue;
    }
    const auto fill = [bytes = file.bytes(entry)](auto* data) {
      if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
    };
    StateValue<T>& value = values.emplace_back(entry.name, std::int64_t{0}).second;
    if (kind->second == 1) {
      fill(&std::get<std::int64_t>(value));
    } else if (kind->second == 2) {
      fill(&value.template emplace<double>());
    } else if (kind->second == 3) {
      fill(value.template emplace<Labels>(empty_array<std::int64_t>(entry.shape)).data());
    } else {
      Array<T> array = empty_array<T>(entry.shape);
      fill(array.data());
      value = Tensor<T>(std::move(array));
    }
  }
  if (!problems.empty()) fail_file(file.file(), "{}", problems.substr(2));
  try {
    load_state(file.file().c_str(), places, values);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(error.what());
  }
}

#define XTGRAD_INSTANTIATE(T)                                         \
  template std::string to_safetensors(const StateDict<T>&, Metadata); \
  template void load_state(const std::vector<StateEntry<T>>&, const Safetensors&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
