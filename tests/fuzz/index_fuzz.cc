// Any text as model.safetensors.index.json.
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "harness/io/json_file.h"
#include "harness/io/shard_index.h"
#include "tests/fuzz/expect_input_errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  mg::expect_input_errors([&] {
    const mg::ShardIndex index =
        mg::parse_shard_index(mg::parse_json(text, "index.json"), "index.json");
    std::vector<mg::NamedHeader> shards;
    const std::vector<std::string> files = index.files();
    const mg::SafetensorsHeader empty;
    for (const std::string& file : files) {
      // No name that was accepted leads out of the folder.
      const std::filesystem::path inside =
          (std::filesystem::path("/folder") / file).lexically_normal();
      mg::require(inside.string().starts_with("/folder/"));
      shards.push_back({file, shards.size() % 2 == 0 ? &empty : nullptr});
    }
    for (const mg::IndexProblem& problem : mg::compare_index(index, shards)) {
      mg::require(!mg::to_string(problem).empty());
    }
  });
  return 0;
}
