// Where the tensors lie in the data section; the order of checks is that of the reference
// (tensor.rs, validate).
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "harness/io/safetensors_header.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

std::string range(std::uint64_t begin, std::uint64_t end) {
  return fmt::format("[{}, {}]", begin, end);
}

[[noreturn]] void fail(std::string code, std::string what, std::string_view file,
                       std::string_view tensor, std::string expected, std::string actual,
                       std::string hint) {
  throw Error({.code = "safetensors." + std::move(code),
               .what = std::move(what),
               .where = tensor.empty() ? std::string(file) : fmt::format("{}, {}", file, tensor),
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = std::move(hint)});
}

// Elements times bits, in the reference's order and width: a zero dimension does not excuse an
// overflow before it.
std::optional<std::uint64_t> bits_of(const SafetensorsRecord& record) {
  std::uint64_t count = 1;
  for (const std::int64_t dim : record.shape) {
    if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(dim), &count)) {
      return std::nullopt;
    }
  }
  if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(dtype_bits(record.dtype)), &count)) {
    return std::nullopt;
  }
  return count;
}

void check_place(const SafetensorsRecord& record, const SafetensorsRecord* previous,
                 std::uint64_t expected_begin, std::string_view file) {
  if (record.end < record.begin) {
    fail("offsets-reversed", "a tensor ends before it begins", file, record.name,
         "data_offsets [begin, end] with begin <= end", range(record.begin, record.end),
         "the header is damaged: export the file again");
  }
  if (record.begin < expected_begin) {
    fail("overlap", fmt::format("the tensor shares bytes with {}", previous->name), file,
         record.name, fmt::format("begin at byte {}", expected_begin),
         fmt::format("begin at byte {}", record.begin),
         "tensors may not share storage: save with safetensors.torch.save_model, or clone tied "
         "tensors before saving");
  }
  if (record.begin > expected_begin) {
    fail("hole",
         fmt::format("{} bytes before the tensor belong to none", record.begin - expected_begin),
         file, record.name, fmt::format("begin at byte {}", expected_begin),
         fmt::format("begin at byte {}", record.begin),
         "the header is damaged or was edited: export the file again");
  }
}

void check_size(const SafetensorsRecord& record, std::string_view file) {
  const std::string type = fmt::format("{} {}", dtype_name(record.dtype), to_string(record.shape));
  const std::optional<std::uint64_t> bits = bits_of(record);
  if (!bits) {
    fail("size-overflow", "the tensor's size does not fit in 64 bits", file, record.name,
         "a product of dimensions and element size below 2^64 bits", type,
         "the header is damaged: export the file again");
  }
  if (*bits % 8 != 0) {
    fail("sub-byte", "the tensor's last element does not end at a byte", file, record.name,
         "a whole number of bytes", fmt::format("{} bits ({})", *bits, type),
         "packed types need a number of elements that fills bytes");
  }
  if (*bits / 8 != record.end - record.begin) {
    fail("size-mismatch", "the tensor's bytes do not fit its shape and dtype", file, record.name,
         fmt::format("{} bytes for {}", *bits / 8, type),
         fmt::format("{} bytes", record.end - record.begin),
         "the header is damaged: export the file again");
  }
}

}  // namespace

void validate_layout(SafetensorsHeader& header, std::uint64_t data_bytes, std::string_view file) {
  std::sort(header.records.begin(), header.records.end(),
            [](const SafetensorsRecord& left, const SafetensorsRecord& right) {
              return std::tie(left.begin, left.end, left.name) <
                     std::tie(right.begin, right.end, right.name);
            });
  std::uint64_t end = 0;
  const SafetensorsRecord* previous = nullptr;
  for (const SafetensorsRecord& record : header.records) {
    check_place(record, previous, end, file);
    check_size(record, file);
    end = record.end;
    previous = &record;
  }
  if (end > data_bytes) {
    fail("truncated", "the file ends before its last tensor does", file,
         previous == nullptr ? "" : previous->name,
         fmt::format("{} bytes", header.data_begin + end),
         fmt::format("{} bytes", header.data_begin + data_bytes),
         "an interrupted download or save: fetch or export the file again");
  }
  if (end < data_bytes) {
    fail("trailing-bytes",
         fmt::format("{} bytes after the last tensor belong to none", data_bytes - end), file, "",
         fmt::format("{} bytes", header.data_begin + end),
         fmt::format("{} bytes", header.data_begin + data_bytes),
         "something was appended, or the header lost tensors: export the file again");
  }
}

}  // namespace mg
