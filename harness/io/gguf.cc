#include "harness/io/gguf.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "kernels/core/error.h"

namespace mg {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr std::size_t kMaxDimensions = 4;          // GGML_MAX_DIMS
constexpr std::uint64_t kMinKeyBytes = 8 + 4 + 1;  // an empty key, its type, a byte
constexpr std::uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;
constexpr std::size_t kShownName = 80;

enum ValueType : std::uint32_t {
  kU8 = 0,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

std::string shown(std::string_view name) {
  std::string text;
  for (const char letter : name.substr(0, kShownName)) {
    text += letter >= ' ' && letter <= '~' ? letter : '?';
  }
  return name.size() > kShownName ? text + "..." : text;
}

// Takes values off the front of the file; knows what it is inside of, for the errors.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  void inside(std::string place) { place_ = std::move(place); }
  std::uint64_t position() const { return position_; }
  std::uint64_t left() const { return bytes_.size() - position_; }

  [[noreturn]] void fail(std::string_view code, std::string what, std::string expected,
                         std::string actual, std::string hint = {}) const {
    if (hint.empty()) {
      hint =
          "the file is damaged or was not written by a GGUF writer; convert or download it again";
    }
    throw Error(
        {.code = fmt::format("gguf.{}", code),
         .what = std::move(what),
         .where = place_.empty() ? std::string(file_) : fmt::format("{}: {}", file_, place_),
         .expected = std::move(expected),
         .actual = std::move(actual),
         .hint = std::move(hint)});
  }

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
    return value;
  }

  std::string text() {
    const auto length = number<std::uint64_t>();
    require(length, 1, "a string");
    const auto* begin = reinterpret_cast<const char*>(take(length));
    return {begin, static_cast<std::size_t>(length)};
  }

  /// Refuses a count whose items cannot all be in what is left, before anything is allocated.
  void require(std::uint64_t count, std::uint64_t bytes_each, std::string_view what) const {
    if (count > left() / bytes_each) {
      fail("truncated", fmt::format("{} goes past the end of the file", what),
           fmt::format("at most {} bytes from byte {}", left(), position_),
           fmt::format("{} of at least {} bytes each", count, bytes_each));
    }
  }

 private:
  const std::byte* take(std::uint64_t count) {
    require(count, 1, "the header");
    const std::byte* at = bytes_.data() + position_;
    position_ += count;
    return at;
  }

  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::string place_;
  std::uint64_t position_ = 0;
};

std::uint64_t value_bytes(std::uint32_t type) {  // the least that one takes
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    default:
      return 8;
  }
}

OrderedJson read_scalar(Reader& reader, std::uint32_t type) {
  switch (type) {
    case kU8:
      return reader.number<std::uint8_t>();
    case kI8:
      return reader.number<std::int8_t>();
    case kU16:
      return reader.number<std::uint16_t>();
    case kI16:
      return reader.number<std::int16_t>();
    case kU32:
      return reader.number<std::uint32_t>();
    case kI32:
      return reader.number<std::int32_t>();
    case kF32:
      return reader.number<float>();
    case kBool:
      return reader.number<std::uint8_t>() != 0;
    case kString:
      return reader.text();
    case kU64:
      return reader.number<std::uint64_t>();
    case kI64:
      return reader.number<std::int64_t>();
    case kF64:
      return reader.number<double>();
    default:
      reader.fail("value", "a value's type is unknown", "0 to 12", fmt::format("{}", type));
  }
}

OrderedJson read_value(Reader& reader) {
  const auto type = reader.number<std::uint32_t>();
  if (type != kArray) {
    return read_scalar(reader, type);
  }
  const auto element = reader.number<std::uint32_t>();
  const auto count = reader.number<std::uint64_t>();
  if (element == kArray) {
    reader.fail("value", "a list holds lists", "a list of numbers or strings", "type 9 in type 9");
  }
  reader.require(count, value_bytes(element), "a list");
  OrderedJson list = OrderedJson::array();
  for (std::uint64_t i = 0; i < count; ++i) {
    list.push_back(read_scalar(reader, element));
  }
  return list;
}

void read_metadata(Reader& reader, std::uint64_t count, GgufHeader& header) {
  OrderedJson metadata = OrderedJson::object();
  std::unordered_set<std::string> seen;  // ordered_json finds a key in linear time
  for (std::uint64_t i = 0; i < count; ++i) {
    reader.inside(fmt::format("key {} of {}", i + 1, count));
    const std::string key = reader.text();
    reader.inside(fmt::format("key \"{}\"", shown(key)));
    if (!seen.insert(key).second) {
      reader.fail("repeated", "a key occurs twice", "each key once", "twice");
    }
    OrderedJson value = read_value(reader);
    if (key == "general.alignment") {
      const std::uint64_t alignment =
          value.is_number_unsigned() ? value.get<std::uint64_t>() : std::uint64_t{0};
      if (!std::has_single_bit(alignment) || alignment > (1U << 30U)) {
        reader.fail("alignment", "the alignment is not one", "a power of two", value.dump());
      }
      header.alignment = alignment;
    }
    metadata.get_ref<OrderedJson::object_t&>().emplace_back(key, std::move(value));
  }
  header.metadata = std::make_shared<const OrderedJson>(std::move(metadata));
}

std::uint64_t padded(std::uint64_t bytes, std::uint64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

void read_shape(Reader& reader, GgufTensor& tensor) {
  const auto dimensions = reader.number<std::uint32_t>();
  if (dimensions > kMaxDimensions) {
    reader.fail("shape", "a tensor has too many dimensions",
                fmt::format("at most {}", kMaxDimensions), fmt::format("{}", dimensions));
  }
  std::uint64_t elements = 1;
  tensor.shape.resize(dimensions);
  for (std::size_t i = 0; i < dimensions; ++i) {
    const auto size = reader.number<std::uint64_t>();
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (size > kMost || (size != 0 && elements > kMost / size)) {
      reader.fail("shape", "a tensor's size overflows", "fewer than 2^63 elements",
                  fmt::format("dimension {} is {}", i, size));
    }
    elements *= size;
    tensor.shape[dimensions - 1 - i] = static_cast<std::int64_t>(size);
  }
}

void read_type(Reader& reader, GgufTensor& tensor) {
  const auto id = reader.number<std::uint32_t>();
  tensor.format = find_ggml_format(id);
  if (tensor.format == nullptr) {
    reader.fail("type", "a tensor's type is unknown", std::string(ggml_format_names()),
                fmt::format("type {}", id),
                "quantise to one of these types, or report the file if llama.cpp knows this one");
  }
  if (tensor.row_length() % tensor.format->block != 0) {
    reader.fail("shape", "a row is not made of whole blocks",
                fmt::format("a multiple of {} for {}", tensor.format->block, tensor.format->name),
                fmt::format("rows of {}", tensor.row_length()));
  }
  const auto blocks =
      static_cast<std::uint64_t>(tensor.rows() * (tensor.row_length() / tensor.format->block));
  if (blocks > std::numeric_limits<std::uint64_t>::max() / 2 / tensor.format->bytes) {
    reader.fail("shape", "a tensor's size overflows", "fewer than 2^63 bytes",
                fmt::format("{} blocks", blocks));
  }
  tensor.bytes = blocks * tensor.format->bytes;
}

void read_tensors(Reader& reader, std::uint64_t count, GgufHeader& header) {
  std::unordered_set<std::string> seen;
  std::uint64_t expected = 0;  // llama.cpp takes tensors only one after the other
  for (std::uint64_t i = 0; i < count; ++i) {
    reader.inside(fmt::format("tensor {} of {}", i + 1, count));
    GgufTensor tensor;
    tensor.name = reader.text();
    reader.inside(fmt::format("tensor \"{}\"", shown(tensor.name)));
    if (!seen.insert(tensor.name).second) {
      reader.fail("repeated", "a tensor occurs twice", "each name once", "twice");
    }
    read_shape(reader, tensor);
    read_type(reader, tensor);
    tensor.begin = reader.number<std::uint64_t>();
    if (tensor.begin != expected) {
      reader.fail("offset", "a tensor does not follow the one before it",
                  fmt::format("offset {}", expected), fmt::format("offset {}", tensor.begin));
    }
    if (tensor.bytes > std::numeric_limits<std::uint64_t>::max() / 2 - expected) {
      reader.fail("shape", "the tensors' sizes overflow", "fewer than 2^63 bytes", "more");
    }
    expected += padded(tensor.bytes, header.alignment);
    header.tensors.push_back(std::move(tensor));
  }
}

// Offsets count from the data, which begins at the next multiple of the alignment.
void place_tensors(Reader& reader, std::uint64_t file_bytes, GgufHeader& header) {
  const std::uint64_t begin = padded(reader.position(), header.alignment);
  for (GgufTensor& tensor : header.tensors) {
    reader.inside(fmt::format("tensor \"{}\"", shown(tensor.name)));
    tensor.begin += begin;
    if (tensor.begin > file_bytes || tensor.bytes > file_bytes - tensor.begin) {
      reader.fail("truncated", "a tensor goes past the end of the file",
                  fmt::format("{} bytes from byte {}", tensor.bytes, tensor.begin),
                  fmt::format("a file of {} bytes", file_bytes),
                  "the file was cut off; copy or download it again");
    }
  }
}

void read_magic(Reader& reader, std::span<const std::byte> bytes, GgufHeader& header) {
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0) {
    reader.fail("magic", "this is no GGUF file", "GGUF in the first four bytes",
                bytes.empty() ? "an empty file" : "other bytes", "name a .gguf file");
  }
  reader.number<std::uint32_t>();
  header.version = reader.number<std::uint32_t>();
  if (header.version != 2 && header.version != 3) {
    const bool swapped = (header.version & 0xFFFFU) == 0;
    reader.fail("version", "this version of GGUF is not read", "2 or 3, little-endian",
                swapped ? std::string("a big-endian file") : fmt::format("{}", header.version),
                "write it anew with a current llama.cpp (convert_hf_to_gguf.py)");
  }
}

}  // namespace

std::int64_t GgufTensor::row_length() const {
  return shape.empty() ? 1 : shape.back();
}

std::int64_t GgufTensor::rows() const {
  std::int64_t count = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) {
    count *= shape[i];
  }
  return count;
}

GgufHeader parse_gguf(std::span<const std::byte> bytes, std::string_view file) {
  Reader reader(bytes, file);
  GgufHeader header;
  read_magic(reader, bytes, header);
  const auto tensors = reader.number<std::uint64_t>();
  const auto keys = reader.number<std::uint64_t>();
  reader.require(tensors, kMinTensorBytes, "the list of tensors");
  reader.require(keys, kMinKeyBytes, "the metadata");
  read_metadata(reader, keys, header);
  read_tensors(reader, tensors, header);
  place_tensors(reader, bytes.size(), header);
  return header;
}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  GgufFile result;
  result.file_ = MappedFile::open(path);
  result.header_ = parse_gguf(result.file_->bytes(), path.string());
  result.file_->check_intact();
  return result;
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  for (const GgufTensor& tensor : header_.tensors) {
    if (tensor.name == name) {
      return &tensor;
    }
  }
  return nullptr;
}

void GgufFile::rows(const GgufTensor& tensor, std::int64_t begin, std::int64_t end,
                    float* out) const {
  MG_CHECK(begin >= 0 && begin <= end && end <= tensor.rows(), "rows of the tensor");
  const GgmlFormat& format = *tensor.format;
  if (format.decode == nullptr) {
    throw Error({.code = "gguf.type",
                 .what = fmt::format("numbers stored as {} are not read", format.name),
                 .where = fmt::format("{}: tensor \"{}\"", path().string(), shown(tensor.name)),
                 .expected = std::string(ggml_format_names()),
                 .actual = std::string(format.name),
                 .hint = "compare with a file of one of these types"});
  }
  const std::int64_t blocks = tensor.row_length() / format.block;
  const std::byte* source = data(tensor) + static_cast<std::size_t>(begin * blocks) * format.bytes;
  format.decode(source, (end - begin) * blocks, out);
}

}  // namespace mg
