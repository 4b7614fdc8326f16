#include "harness/io/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <utility>

#include "harness/io/folder.h"
#include "harness/io/gguf_config.h"
#include "harness/io/gguf_model.h"
#include "harness/io/problem_list.h"
#include "harness/io/shard_index.h"
#include "harness/io/weight_files.h"
#include "kernels/core/error.h"
#include "kernels/core/parallel.h"
#include "kernels/core/shape.h"

namespace mg {

// nlohmann's constructor is noexcept and calls an assertion that clang-tidy takes for a throw.
struct Checkpoint::State {  // NOLINT(bugprone-exception-escape)
  std::filesystem::path folder;
  nlohmann::json config;
  nlohmann::json index;
  std::vector<SafetensorsFile> shards;
  std::vector<StoredTensor> tensors;
  std::vector<std::string> stray_files;
  std::vector<std::unique_ptr<QuantisedTensor>> quantised;
  std::unique_ptr<DecodedMemory> decoded;
  std::unique_ptr<GgufFile> gguf;          // instead of shards
  std::deque<std::vector<float>> vectors;  // of a GGUF file

  const MappedFile* file_of(const StoredTensor& tensor) const {
    if (tensor.shard == kNoShard) {
      return nullptr;
    }
    return gguf ? &gguf->file() : &shards.at(static_cast<std::size_t>(tensor.shard)).file();
  }
};

namespace {

nlohmann::json open_config(const std::filesystem::path& folder,
                           const std::vector<FolderEntry>& entries, const OpenOptions& options) {
  if (!has_entry(entries, "config.json")) {
    if (!options.require_config) {
      return nullptr;
    }
    const bool adapter = has_entry(entries, "adapter_config.json");
    throw Error(
        {.code = adapter ? "checkpoint.is-adapter" : "checkpoint.no-config",
         .what = adapter ? "this is an adapter, not a model" : "the folder has no config.json",
         .where = folder.string(),
         .expected = "config.json",
         .actual = adapter ? "adapter_config.json" : "nothing",
         .hint = adapter ? "give it as --adapter, and the model it was trained on as --base"
                         : "copy config.json from the model this one was made from"});
  }
  nlohmann::json config = read_json(folder / "config.json");
  if (!config.is_object()) {
    throw Error({.code = "checkpoint.config-structure",
                 .what = "config.json is not an object",
                 .where = (folder / "config.json").string(),
                 .expected = "{...}",
                 .actual = std::string(json_kind(config)),
                 .hint = "copy config.json from the model this one was made from"});
  }
  return config;
}

// transformers reads model.safetensors where there is one, vLLM reads what the index names.
void refuse_two_sets(const std::filesystem::path& folder, const std::vector<FolderEntry>& entries,
                     const std::vector<std::string>& indexed) {
  if (!has_entry(entries, kWeightsFile) ||
      (indexed.size() == 1 && indexed.front() == kWeightsFile)) {
    return;
  }
  throw Error(
      {.code = "checkpoint.two-sets",
       .what = "the folder holds two sets of weights, and loaders differ in which they take",
       .where = folder.string(),
       .expected = "model.safetensors, or shards with an index",
       .actual = fmt::format("model.safetensors (which transformers reads) and an index of {} "
                             "(which vLLM reads)",
                             fmt::join(indexed, ", ")),
       .hint = "an export into a used folder: move the older set away"});
}

void require_consistent(const std::filesystem::path& index_path, const ShardIndex& index,
                        const std::vector<std::string>& files,
                        const std::vector<SafetensorsFile>& opened,
                        const std::vector<bool>& is_present) {
  std::vector<NamedHeader> headers;
  std::size_t next = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    headers.push_back({files[i], is_present[i] ? &opened[next++].header() : nullptr});
  }
  const std::vector<IndexProblem> problems = compare_index(index, headers);
  if (problems.empty()) {
    return;
  }
  std::vector<std::string> texts;
  texts.reserve(problems.size());
  for (const IndexProblem& problem : problems) {
    texts.push_back(to_string(problem));
  }
  const bool missing = std::find(is_present.begin(), is_present.end(), false) != is_present.end();
  throw Error(
      {.code = "index.disagrees",
       .what = "the index and the shards disagree",
       .where = index_path.string(),
       .expected = "each tensor in the file that weight_map names, and no other",
       .actual = list_problems(texts),
       .hint = missing ? "an incomplete download or a stale index: fetch or export again"
                       : "a stale index: `mergegauge lint --fix` writes it anew from the shards"});
}

bool by_name(const StoredTensor& left, const StoredTensor& right) {
  return left.name < right.name;
}

}  // namespace

Checkpoint::Checkpoint() : state_(std::make_unique<State>()) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open_gguf(const std::filesystem::path& path) {
  Checkpoint opened;
  State& state = *opened.state_;
  state.folder = path;
  state.gguf = std::make_unique<GgufFile>(GgufFile::open(path));
  state.config = gguf_config(*state.gguf);
  GgufModel model = read_gguf_model(*state.gguf, state.config);
  state.tensors = std::move(model.plain);
  state.vectors = std::move(model.vectors);
  opened.take_in_quantised(std::move(model.codes));
  return opened;
}

Checkpoint Checkpoint::open(const std::filesystem::path& folder, const OpenOptions& options) {
  if (options.decode && folder.extension() == ".gguf" && std::filesystem::is_regular_file(folder)) {
    return open_gguf(folder);
  }
  const std::vector<FolderEntry> entries = list_folder(folder, "a model folder");
  Checkpoint opened;
  State& state = *opened.state_;
  state.folder = folder;
  WeightFiles weights = find_weight_files(folder, entries);
  state.config = open_config(folder, entries, options);
  if (weights.index.empty()) {
    state.shards.push_back(SafetensorsFile::open(folder / weights.files.front()));
  } else {
    state.index = read_json(folder / weights.index);
    const ShardIndex index = parse_shard_index(state.index, (folder / weights.index).string());
    weights.files = index.files();
    refuse_two_sets(folder, entries, weights.files);
    std::vector<bool> is_present;
    for (const std::string& name : weights.files) {
      std::error_code ignored;
      // A link that leads nowhere is opened, for the error that names its target.
      is_present.push_back(std::filesystem::exists(folder / name, ignored) ||
                           std::filesystem::is_symlink(folder / name, ignored));
      if (is_present.back()) {
        state.shards.push_back(SafetensorsFile::open(folder / name));
      }
    }
    require_consistent(folder / weights.index, index, weights.files, state.shards, is_present);
  }
  for (std::size_t shard = 0; shard < state.shards.size(); ++shard) {
    for (const SafetensorsRecord& record : state.shards[shard].header().records) {
      state.tensors.push_back(
          {record.name, state.shards[shard].view(record), static_cast<int>(shard)});
    }
  }
  std::sort(state.tensors.begin(), state.tensors.end(), by_name);
  if (options.decode) {
    opened.take_in_quantised(
        read_quantised(state.tensors, state.config, options.block_order, folder));
  }
  for (const FolderEntry& entry : entries) {
    const bool weight =
        entry.kind == FileKind::kSafetensors || entry.kind == FileKind::kConsolidated;
    if (weight &&
        std::find(weights.files.begin(), weights.files.end(), entry.name) == weights.files.end()) {
      state.stray_files.push_back(entry.name);
    }
  }
  return opened;
}

void Checkpoint::take_in_quantised(std::vector<std::unique_ptr<QuantisedTensor>> codes) {
  State& state = *state_;
  state.quantised = std::move(codes);
  std::sort(state.quantised.begin(), state.quantised.end(),
            [](const auto& left, const auto& right) { return left->name < right->name; });
  std::vector<std::size_t> bytes;
  for (const auto& tensor : state.quantised) {
    bytes.push_back(to_index(element_count(tensor->shape()).value_or(0)) * sizeof(float));
  }
  state.decoded = std::make_unique<DecodedMemory>(bytes, state.folder.string());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const QuantisedTensor& tensor = *state.quantised[i];
    state.tensors.push_back({.name = tensor.name,
                             .view = {.dtype = DType::kF32,
                                      .shape = tensor.shape(),
                                      .data = state.decoded->address(i),
                                      .bytes = bytes[i]},
                             .shard = tensor.parts.front().shard,
                             .quantised = &tensor});
  }
  std::sort(state.tensors.begin(), state.tensors.end(), by_name);
}

const std::vector<std::unique_ptr<QuantisedTensor>>& Checkpoint::quantised() const {
  return state_->quantised;
}

DecodedHold Checkpoint::decode(const StoredTensor& tensor, ThreadPool* pool) const {
  if (tensor.quantised == nullptr) {
    return nullptr;
  }
  const auto& all = state_->quantised;
  const auto found = std::lower_bound(
      all.begin(), all.end(), tensor.quantised->name,
      [](const auto& candidate, const std::string& name) { return candidate->name < name; });
  MG_CHECK(found != all.end() && found->get() == tensor.quantised, "a tensor of this checkpoint");
  const QuantisedTensor& codes = **found;
  return state_->decoded->hold(
      static_cast<std::size_t>(found - all.begin()), [&codes, pool](std::byte* memory) {
        auto* out = reinterpret_cast<float*>(memory);
        const auto rows = [&](std::int64_t begin, std::int64_t end) {
          codes.rows(begin, end, out + begin * codes.cols_count);
        };
        if (pool == nullptr) {
          rows(0, codes.rows_count);
          return;
        }
        constexpr std::int64_t kTaskElements = 1 << 18;
        pool->for_chunks(codes.rows_count,
                         std::max<std::int64_t>(1, kTaskElements / codes.cols_count), rows);
      });
}

std::int64_t Checkpoint::copies_decoded() const {
  return state_->decoded == nullptr ? 0 : state_->decoded->fills();
}

const std::filesystem::path& Checkpoint::folder() const {
  return state_->folder;
}
const nlohmann::json& Checkpoint::config() const {
  return state_->config;
}
const std::vector<StoredTensor>& Checkpoint::tensors() const {
  return state_->tensors;
}
const GgufFile* Checkpoint::gguf() const {
  return state_->gguf.get();
}

const std::vector<SafetensorsFile>& Checkpoint::shards() const {
  return state_->shards;
}
bool Checkpoint::has_index() const {
  return !state_->index.is_null();
}
const nlohmann::json& Checkpoint::index() const {
  return state_->index;
}
const std::vector<std::string>& Checkpoint::stray_files() const {
  return state_->stray_files;
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto it = std::lower_bound(
      state_->tensors.begin(), state_->tensors.end(), name,
      [](const StoredTensor& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return it != state_->tensors.end() && it->name == name ? &*it : nullptr;
}

void Checkpoint::prefetch(const StoredTensor& tensor) const {
  if (tensor.quantised != nullptr) {
    for (const StoredTensor& part : tensor.quantised->parts) {
      prefetch(part);
    }
    return;
  }
  if (const MappedFile* file = state_->file_of(tensor)) {
    file->prefetch(tensor.view.data, tensor.view.bytes);
  }
}

void Checkpoint::release(const StoredTensor& tensor) const {
  if (tensor.quantised != nullptr) {
    for (const StoredTensor& part : tensor.quantised->parts) {
      release(part);
    }
    return;
  }
  if (const MappedFile* file = state_->file_of(tensor)) {
    file->release(tensor.view.data, tensor.view.bytes);
  }
}

void Checkpoint::check_intact() const {
  for (const SafetensorsFile& shard : state_->shards) {
    shard.file().check_intact();
  }
  if (state_->gguf) {
    state_->gguf->file().check_intact();
  }
}

}  // namespace mg
