#include "harness/run/describe.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <set>
#include <thread>

#include "harness/io/digest.h"
#include "harness/run/compare.h"
#include "kernels/core/dtype.h"

namespace mg {
namespace {

std::vector<std::filesystem::path> files_in(const std::filesystem::path& folder) {
  if (std::filesystem::is_regular_file(folder)) {
    return {folder};
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) {  // follows links: the Hub cache is made of them
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string adapter_kind(const AdapterConfig& config) {
  if (config.use_dora) {
    return "dora";
  }
  return config.use_rslora ? "rslora" : "lora";
}

}  // namespace

std::string machine_name() {
  std::ifstream info("/proc/cpuinfo");
  std::string name = "unknown processor";
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) {
      name = line.substr(line.find(':') + 2);
      break;
    }
  }
  return fmt::format("{}, {} cores", name, std::thread::hardware_concurrency());
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
}

void describe_inputs(const OpenModel& base, const OpenAdapter& adapter, const OpenModel& merged,
                     InputInfo& inputs) {
  const ModelConfig& config = base.model.config;
  ModelSummary model{.model_type = config.model_type,
                     .architecture = config.architecture,
                     .layers = config.num_hidden_layers,
                     .vocab_size = config.vocab_size,
                     .parameters = 0,
                     .base_dtype = std::string(dtype_name(stored_dtype(base.checkpoint))),
                     .merged_dtype = std::string(dtype_name(stored_dtype(merged.checkpoint)))};
  for (const StoredTensor& tensor : base.checkpoint.tensors()) {
    model.parameters += tensor.view.elements();
  }
  inputs.model = std::move(model);

  const AdapterConfig& lora = adapter.adapter.config();
  AdapterSummary summary{
      .kind = adapter_kind(lora),
      .rank = lora.r,
      .scaling = std::nullopt,
      .targets = static_cast<std::int64_t>(adapter.attached.deltas.size()),
      .replaced = static_cast<std::int64_t>(adapter.attached.replacements.size()),
      .modules = {}};
  std::set<std::string> modules;
  for (const AdapterModule& module : adapter.adapter.modules()) {
    modules.insert(module.module.substr(module.module.rfind('.') + 1));
    if (module.rank == lora.r && module.alpha == lora.lora_alpha) {
      summary.scaling = module.scale;
    }
  }
  summary.modules.assign(modules.begin(), modules.end());
  inputs.adapter_info = std::move(summary);
}

std::vector<FileRecord> digest_inputs(const std::vector<InputFolder>& folders, ThreadPool& pool,
                                      const std::function<void(double)>& progress) {
  std::vector<std::filesystem::path> paths;
  std::vector<FileRecord> records;
  std::uint64_t total = 0;
  for (const auto& [role, folder] : folders) {
    for (const std::filesystem::path& file : files_in(folder)) {
      total += std::filesystem::file_size(file);
      records.push_back({.role = role, .path = file.filename().string(), .bytes = 0, .sha256 = {}});
      paths.push_back(file);
    }
  }
  std::atomic<std::uint64_t> done{0};
  const std::thread::id caller = std::this_thread::get_id();
  const std::vector<FileDigest> digests = digest_files(paths, pool, [&](std::uint64_t bytes) {
    done += bytes;
    if (std::this_thread::get_id() == caller) {  // a bar is drawn from one thread
      progress(static_cast<double>(done) / static_cast<double>(total));
    }
  });
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].bytes = digests[i].bytes;
    records[i].sha256 = digests[i].sha256;
  }
  return records;
}

}  // namespace mg
