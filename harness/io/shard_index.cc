#include "harness/io/shard_index.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "harness/io/folder.h"
#include "harness/io/json_file.h"
#include "harness/io/problem_list.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

[[noreturn]] void fail_structure(std::string what, std::string_view file, std::string expected,
                                 std::string actual) {
  throw Error({.code = "index.structure",
               .what = std::move(what),
               .where = std::string(file),
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint =
                   "export the model again, or let `mergegauge lint --fix` write the index anew "
                   "from the shards"});
}

// Why a shard's name cannot be followed, or empty.
std::string objection(const std::string& name) {
  const std::filesystem::path path(name);
  if (name.empty()) {
    return "is empty";
  }
  if (name.find('\0') != std::string::npos) {
    return "holds a NUL byte";
  }
  if (path.is_absolute()) {
    return "is an absolute path";
  }
  for (const std::filesystem::path& part : path) {
    if (part == "..") {
      return "leaves the folder";
    }
  }
  if (name.find('\\') != std::string::npos) {
    return "holds a backslash";
  }
  if (file_kind(name) != FileKind::kSafetensors && file_kind(name) != FileKind::kConsolidated) {
    return "is no safetensors file";
  }
  return {};
}

void require_safe_names(const ShardIndex& index, std::string_view file) {
  std::vector<std::string> problems;
  for (const std::string& name : index.files()) {
    if (const std::string reason = objection(name); !reason.empty()) {
      problems.push_back(fmt::format("\"{}\" {}", name, reason));
    }
  }
  if (!problems.empty()) {
    throw Error({.code = "index.path",
                 .what = "the index names files that will not be opened",
                 .where = fmt::format("{}, weight_map", file),
                 .expected = "names of *.safetensors files inside the folder",
                 .actual = list_problems(problems),
                 .hint = "an index must not point outside its folder: export the model again"});
  }
}

}  // namespace

std::vector<std::string> ShardIndex::files() const {
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map) {
    names.insert(file);
  }
  return {names.begin(), names.end()};
}

ShardIndex parse_shard_index(const nlohmann::json& json, std::string_view file) {
  if (!json.is_object()) {
    fail_structure("the index is not an object", file, "{\"metadata\": ..., \"weight_map\": ...}",
                   std::string(json_kind(json)));
  }
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object()) {
    fail_structure("the index has no weight_map", file, "an object: tensor -> file",
                   map == json.end() ? "nothing" : std::string(json_kind(*map)));
  }
  ShardIndex index;
  for (const auto& [tensor, name] : map->items()) {
    if (!name.is_string()) {
      fail_structure("an entry of weight_map is not a file name",
                     fmt::format("{}, weight_map.{}", file, tensor), "a string",
                     std::string(json_kind(name)));
    }
    index.weight_map.emplace(tensor, name.get<std::string>());
  }
  if (index.weight_map.empty()) {
    fail_structure("the index names no tensor", file, "tensor -> file", "an empty weight_map");
  }
  const auto metadata = json.find("metadata");
  if (metadata != json.end() && metadata->is_object()) {
    const auto size = metadata->find("total_size");
    // Some writers give it as a float (1.5e10): a note for lint, nothing that stops a reader.
    if (size != metadata->end() && size->is_number_unsigned()) {
      index.total_size = size->get<std::uint64_t>();
    }
  }
  require_safe_names(index, file);
  return index;
}

ShardIndex read_shard_index(const std::filesystem::path& path) {
  return parse_shard_index(read_json(path), path.string());
}

std::string to_string(const IndexProblem& problem) {
  switch (problem.kind) {
    case IndexProblem::Kind::kMissingShard:
      return fmt::format("{}: named by the index, not in the folder", problem.file);
    case IndexProblem::Kind::kNotInShard:
      return problem.other.empty() ? fmt::format("{}: the index says {}, it is in no shard",
                                                 problem.tensor, problem.file)
                                   : fmt::format("{}: the index says {}, it is in {}",
                                                 problem.tensor, problem.file, problem.other);
    case IndexProblem::Kind::kNotInIndex:
      return fmt::format("{}: in {}, not in the index", problem.tensor, problem.file);
    case IndexProblem::Kind::kTwice:
      return fmt::format("{}: in {} and in {}", problem.tensor, problem.file, problem.other);
  }
  return {};
}

std::vector<IndexProblem> compare_index(const ShardIndex& index,
                                        std::span<const NamedHeader> shards) {
  using Kind = IndexProblem::Kind;
  std::vector<IndexProblem> problems;
  std::map<std::string_view, std::string_view> home;  // tensor -> the first shard that has it
  std::set<std::string_view> missing;
  std::set<std::pair<std::string_view, std::string_view>> second_home;  // of tensors stored twice
  for (const NamedHeader& shard : shards) {
    if (shard.header == nullptr) {
      missing.insert(shard.file);
      problems.push_back({Kind::kMissingShard, {}, std::string(shard.file), {}});
      continue;
    }
    for (const SafetensorsRecord& record : shard.header->records) {
      const auto [entry, first] = home.emplace(record.name, shard.file);
      if (!first) {
        second_home.emplace(record.name, shard.file);
        problems.push_back(
            {Kind::kTwice, record.name, std::string(entry->second), std::string(shard.file)});
      }
    }
  }
  for (const auto& [tensor, file] : index.weight_map) {
    const auto entry = home.find(tensor);
    const bool known = entry != home.end();
    if ((known && entry->second == file) || (!known && missing.contains(file))) {
      continue;
    }
    // A tensor stored twice is reported as such above, also where the index names the second copy.
    if (!second_home.contains({tensor, file})) {
      problems.push_back(
          {Kind::kNotInShard, tensor, file, known ? std::string(entry->second) : std::string()});
    }
  }
  for (const auto& [tensor, file] : home) {
    if (!index.weight_map.contains(std::string(tensor))) {
      problems.push_back({Kind::kNotInIndex, std::string(tensor), std::string(file), {}});
    }
  }
  return problems;
}

}  // namespace mg
