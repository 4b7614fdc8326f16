#include "harness/run/logits.h"

#include <span>

#include "harness/io/safetensors_writer.h"
#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/lockstep.h"
#include "harness/run/models.h"
#include "harness/run/prompts.h"
#include "kernels/registry.h"

namespace mg {
namespace {

/// Rows come in the batch's order, which is the order of the tensors in the file.
class ToFile final : public Observer {
 public:
  ToFile(SafetensorsWriter& writer, const std::function<void(double)>& progress)
      : writer_(writer), progress_(progress) {}

  void logits(const LogitChunk& rows) override { writer_.write(std::as_bytes(rows.lanes[0])); }
  void progress(double done) override { progress_(done); }

 private:
  SafetensorsWriter& writer_;
  const std::function<void(double)>& progress_;
};

}  // namespace

LogitsSummary write_logits(const LogitsOptions& options, ThreadPool& pool,
                           const std::function<void(double)>& progress) {
  const std::string backend_name =
      choose_backend(options.backend,
                     {.arithmetic = options.arithmetic, .pool = &pool, .isa = options.isa})
          .name;
  const OpenModel model(options.model, options.block_order);
  require_plain_weights(model);
  std::optional<OpenAdapter> adapter;
  if (options.adapter) {
    adapter.emplace(*options.adapter, model);
  }
  CheckpointSource source(model.checkpoint, model.model, adapter ? &adapter->attached : nullptr,
                          &pool);
  const Prompts prompts =
      load_prompts(options.suites, limits_of(model), options.token_budget,
                   {.base = options.model, .adapter = options.adapter.value_or(""), .merged = {}},
                   vision_of(model));
  const std::int64_t vocab = source.globals().lm_head.weight.outputs();

  std::vector<TensorPlan> plan;
  for (const BatchPrompt& prompt : prompts.batch.prompts) {
    plan.push_back({.name = prompt.id, .dtype = DType::kF32, .shape = {prompt.length, vocab}});
  }
  const std::unique_ptr<Backend> backend = make_backend(
      backend_name, {.arithmetic = options.arithmetic, .pool = &pool, .isa = options.isa});
  SafetensorsWriter writer(options.out, plan);
  ToFile observer(writer, progress);
  const Lane lane{"model", &source, backend.get()};
  LockstepOptions lockstep;
  lockstep.chunk_tokens = options.chunk_tokens;
  run_lockstep(pool, std::span(&lane, 1), prompts.batch, lockstep, observer);
  writer.finish();
  LogitsSummary summary{.prompts = static_cast<std::int64_t>(plan.size()),
                        .tokens = prompts.batch.tokens(),
                        .vocab_size = vocab,
                        .backend = backend->info(),
                        .notes = {}};
  for (const Finding& finding : block_order_findings(model, "model")) {
    summary.notes.push_back(finding.message + "; " + finding.fix->what);
  }
  return summary;
}

}  // namespace mg
