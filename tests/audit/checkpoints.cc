#include "tests/audit/checkpoints.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

#include "harness/io/safetensors.h"
#include "harness/result/status.h"

namespace mg::test {
namespace {

void write_json(const std::filesystem::path& path, const nlohmann::json& value) {
  std::ofstream(path) << value.dump(2) << "\n";
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const Tensors& tensors) {
  nlohmann::json header = nlohmann::json::object();
  header["__metadata__"] = {{"format", "pt"}};
  std::size_t at = 0;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", std::string(dtype_name(tensor.dtype))},
                    {"shape", tensor.shape},
                    {"data_offsets", {at, at + tensor.bytes.size()}}};
    at += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::ofstream out(path, std::ios::binary);
  const auto length = static_cast<std::uint64_t>(text.size());
  out.write(reinterpret_cast<const char*>(&length), sizeof(length));
  out << text;
  for (const auto& [name, tensor] : tensors) {
    out.write(reinterpret_cast<const char*>(tensor.bytes.data()),
              static_cast<std::streamsize>(tensor.bytes.size()));
  }
}

Tensors read_safetensors(const std::filesystem::path& path) {
  Tensors tensors;
  const SafetensorsFile file = SafetensorsFile::open(path);
  for (const SafetensorsRecord& record : file.header().records) {
    const TensorView view = file.view(record);
    Tensor tensor(view.dtype, view.shape);
    std::copy_n(view.data, view.bytes, tensor.bytes.begin());
    tensors.emplace(record.name, std::move(tensor));
  }
  return tensors;
}

std::string config_dtype(DType dtype) {
  return dtype == DType::kF16 ? "float16" : dtype == DType::kBF16 ? "bfloat16" : "float32";
}

Checkpoints::~Checkpoints() {
  if (!folder_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
}

std::filesystem::path Checkpoints::write() const {
  static_assert(sizeof(std::uintptr_t) <= sizeof(unsigned long long));
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() /
      fmt::format("mg-audit-{}-{:x}", getpid(), reinterpret_cast<std::uintptr_t>(this));
  folder_ = folder;
  for (const char* part : {"base", "adapter", "merged"}) {
    std::filesystem::create_directories(folder / part);
  }
  write_json(folder / "base/config.json", config);
  write_json(folder / "merged/config.json", merged_config);
  write_json(folder / "adapter/adapter_config.json", adapter_config);
  write_safetensors(folder / "base/model.safetensors", base);
  write_safetensors(folder / "merged/model.safetensors", merged);
  write_safetensors(folder / "adapter/adapter_model.safetensors", adapter);
  return folder;
}

AuditOutcome Checkpoints::audit(int threads) const {
  const std::filesystem::path folder = write();
  const Checkpoint base_checkpoint = Checkpoint::open(folder / "base");
  const Adapter peft = Adapter::open(folder / "adapter");
  const Checkpoint merged_checkpoint = Checkpoint::open(folder / "merged");
  const AttachedAdapter attached = attach(peft, base_checkpoint);
  ThreadPool pool(threads);
  return run_audit(base_checkpoint, peft, attached, merged_checkpoint, pool);
}

int exit_code_of(const AuditOutcome& outcome) {
  return exit_code(decide_status(
      {.findings = outcome.findings, .verdicts = {}, .not_checked = outcome.not_checked}));
}

std::string describe(const AuditOutcome& outcome) {
  std::string text = fmt::format("recipe {} ({})\n", outcome.result.recipe.name,
                                 outcome.result.recipe.share.value_or(-1));
  for (const Finding& f : outcome.findings) {
    text += fmt::format("  {} {} [{}] {}: {}\n", severity_name(f.severity), f.rule,
                        fmt::join(f.catalogue, " "), f.subject, f.message);
  }
  return text;
}

}  // namespace mg::test
