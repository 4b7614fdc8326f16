// Any bytes as a safetensors file.
#include <cstdint>
#include <span>

#include "harness/io/safetensors.h"
#include "tests/fuzz/expect_input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  mg::expect_input_errors([&] {
    const mg::SafetensorsHeader header = mg::parse_safetensors(bytes, "fuzz.safetensors");
    // What was accepted fills the file without overlap, hole or rest.
    std::uint64_t end = 0;
    for (const mg::SafetensorsRecord& record : header.records) {
      mg::require(record.begin == end && record.end >= record.begin);
      end = record.end;
    }
    mg::require(header.data_begin + end == size);
  });
  return 0;
}
