#include "harness/io/safetensors_writer.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "kernels/core/error.h"

namespace mg {
namespace {

std::uint64_t byte_count(const TensorPlan& tensor) {
  const std::optional<std::int64_t> elements = element_count(tensor.shape);
  MG_CHECK(elements.has_value(), "a tensor to be written has a size");
  return static_cast<std::uint64_t>(*elements * dtype_bits(tensor.dtype) / 8);
}

std::string header_of(std::span<const TensorPlan> tensors,
                      const std::map<std::string, std::string>& metadata, std::uint64_t& bytes) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    header["__metadata__"] = metadata;
  }
  bytes = 0;
  for (const TensorPlan& tensor : tensors) {
    const std::uint64_t end = bytes + byte_count(tensor);
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {bytes, end}}};
    bytes = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path,
                                     std::span<const TensorPlan> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : path_(std::move(path)), partial_(path_.string() + ".partial") {
  const std::string header = header_of(tensors, metadata, announced_);
  const std::uint64_t length = header.size();
  out_.open(partial_, std::ios::binary | std::ios::trunc);
  out_.write(reinterpret_cast<const char*>(&length),
             sizeof(length));  // little-endian, as the format
  out_.write(header.data(), static_cast<std::streamsize>(header.size()));
  if (!out_) {
    fail();
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  if (!finished_) {
    out_.close();
    std::error_code ignored;
    std::filesystem::remove(partial_, ignored);
  }
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  out_.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  written_ += bytes.size();
  if (!out_) {
    fail();
  }
}

void SafetensorsWriter::finish() {
  MG_CHECK(written_ == announced_, "every announced byte was written");
  out_.close();
  if (!out_) {
    fail();
  }
  std::error_code error;
  std::filesystem::rename(partial_, path_, error);
  if (error) {
    fail();
  }
  finished_ = true;
}

void SafetensorsWriter::fail() const {
  throw Error({.code = "file.write",
               .what = "cannot write the file",
               .where = path_.string(),
               .expected = {},
               .actual = std::strerror(errno),
               .hint = "check the folder's permissions and the free space"});
}

}  // namespace mg
