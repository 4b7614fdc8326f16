// mergegauge devicetest: whether a backend keeps kernels/contract on this machine, and how fast it
// is.  For the first person with a device of some kind.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "harness/cli/command.h"
#include "harness/cli/device_timings.h"
#include "harness/result/status.h"
#include "kernels/contract/conformance.h"
#include "kernels/contract/conformance/fixture.h"
#include "kernels/registry.h"

namespace mg {
namespace {

using contract::Random;
using contract::random_tensor;

struct Arguments {
  std::string backend = "cuda";
  int threads = 0;
  int rows = 512;
};

struct NamedArithmetic {
  Arithmetic arithmetic;
  const char* name;
};
constexpr NamedArithmetic kArithmetics[] = {
    {Arithmetic::kExact, "exact"}, {Arithmetic::kFp16, "fp16"}, {Arithmetic::kBf16, "bf16"}};

/// The conformance cases of one operation in one arithmetic, together.
struct Row {
  std::string operation;
  int cases = 0;
  double worst = 0;  // error over what the contract allows
  std::vector<std::string> failures;
};

std::vector<Row> run_conformance(const Arguments& arguments, const NamedArithmetic& arithmetic,
                                 ThreadPool& pool) {
  const auto make = [&](const std::string& name, Arithmetic which) {
    return make_backend(name, {.arithmetic = which, .pool = &pool, .isa = {}});
  };
  const auto subject = make(arguments.backend, arithmetic.arithmetic);
  const auto oracle = make("reference", arithmetic.arithmetic);
  const auto exact = make("reference", Arithmetic::kExact);
  std::vector<Row> rows;
  for (const contract::ConformanceCase& c : contract::conformance_cases()) {
    if (rows.empty() || rows.back().operation != c.operation) {
      const auto found = std::find_if(rows.begin(), rows.end(),
                                      [&](const Row& row) { return row.operation == c.operation; });
      if (found != rows.end()) {
        std::rotate(found, found + 1, rows.end());
      } else {
        rows.push_back({.operation = c.operation, .cases = 0, .worst = 0, .failures = {}});
      }
    }
    Row& row = rows.back();
    const contract::CaseResult result = c.run({*subject, *oracle, *exact});
    ++row.cases;
    row.worst = std::max(row.worst, result.comparison.worst_ratio);
    if (!result.failure.empty()) {
      row.failures.push_back(c.name + ": " + result.failure);
    }
  }
  return rows;
}

/// A matrix with a buffer of its own.
struct Owned {
  Owned(Backend& backend, const std::vector<float>& values, std::int64_t rows, std::int64_t cols)
      : buffer(backend.allocate(rows * cols)), mat(whole(*buffer, rows, cols)) {
    backend.upload(values, mat);
  }
  std::unique_ptr<Buffer> buffer;
  Mat mat;
};

std::vector<float> read(Backend& backend, const Mat& x) {
  std::vector<float> staging;
  const auto values = backend.read(x, staging);
  return {values.begin(), values.end()};
}

/// Whether a row of a product has the same bits whatever rows stand beside it: cut into calls of
/// other sizes, and at another place of one call.  What A/A = 0 rests on.
std::string row_stability(Backend& backend) {
  constexpr std::int64_t kRows = 331;
  constexpr std::int64_t kInputs = 1024;
  constexpr std::int64_t kOutputs = 1536;
  Random random(17);
  const std::vector<float> half = random.normals(kRows * kInputs);
  std::vector<float> twice = half;
  twice.insert(twice.end(), half.begin(), half.end());
  const contract::StoredTensor w = random_tensor(random, DType::kBF16, {kOutputs, kInputs}, 0.05);
  const Owned x(backend, twice, 2 * kRows, kInputs);
  const auto product = [&](std::int64_t part) {
    const Owned out(backend, std::vector<float>(2 * kRows * kOutputs), 2 * kRows, kOutputs);
    for (std::int64_t begin = 0; begin < 2 * kRows;) {
      const std::int64_t left = 2 * kRows - begin;
      const std::int64_t count = left < part + kMinStableRows ? left : part;
      backend.linear(x.mat.row_range(begin, count), {w.view(), false}, {},
                     out.mat.row_range(begin, count));
      begin += count;
    }
    return read(backend, out.mat);
  };
  const std::vector<float> once = product(2 * kRows);
  const auto middle = once.begin() + kRows * kOutputs;
  if (!std::equal(once.begin(), middle, middle)) {
    return "bits of a product's row depend on its place in the call";
  }
  for (const std::int64_t part : {16, 17, 64, 100, 128, 331}) {
    if (product(part) != once) {
      return fmt::format("bits of a product's row differ in calls of {} rows", part);
    }
  }
  return "";
}

int test_arithmetic(const Arguments& arguments, const NamedArithmetic& arithmetic,
                    ThreadPool& pool) {
  int failures = 0;
  fmt::print("\n{}\n  {:<20} {:>6} {:>7} {:>18}\n", arithmetic.name, "operation", "cases", "failed",
             "worst / allowed");
  for (const Row& row : run_conformance(arguments, arithmetic, pool)) {
    fmt::print("  {:<20} {:>6} {:>7} {:>18.3f}\n", row.operation, row.cases, row.failures.size(),
               row.worst);
    for (const std::string& failure : row.failures) {
      fmt::print("    {}\n", failure);
    }
    failures += static_cast<int>(row.failures.size());
  }
  const auto backend = make_backend(
      arguments.backend, {.arithmetic = arithmetic.arithmetic, .pool = &pool, .isa = {}});
  const std::string unstable = row_stability(*backend);
  fmt::print("  rows of a product: {}\n", unstable.empty() ? "same bits in every call" : unstable);
  failures += unstable.empty() ? 0 : 1;
  if (arguments.rows > 0) {
    print_timings(*backend, arguments.rows);
  }
  for (const std::string& note : backend->notes()) {
    fmt::print("  note: {}\n", note);
  }
  return failures;
}

void run(const Arguments& arguments, CommandContext& context) {
  ThreadPool pool(arguments.threads);
  const BackendChoice choice = choose_backend(
      arguments.backend, {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}});
  Arguments chosen = arguments;
  chosen.backend = choice.name;
  const BackendInfo info =
      make_backend(choice.name, {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = {}})
          ->info();
  fmt::print("{} ({}), {} threads\n", info.name, info.isa, info.threads);
  if (!choice.why.empty()) {
    fmt::print("{}\n", choice.why);
  }
  int failures = 0;
  for (const NamedArithmetic& arithmetic : kArithmetics) {
    failures += test_arithmetic(chosen, arithmetic, pool);
  }
  fmt::print("\n{}\n", failures == 0 ? "conforms" : fmt::format("{} failures", failures));
  context.exit_code = failures == 0 ? 0 : exit_code(RunStatus::kInternalError);
}

}  // namespace

void add_devicetest_command(CLI::App& app, CommandContext& context) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand(
      "devicetest", "Does this machine's backend keep its contract, and how fast is it?");
  command->add_option("--backend", arguments->backend, "cuda, cpu, auto")->capture_default_str();
  command->add_option("--rows", arguments->rows, "tokens of the timed calls; 0: no timing")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--threads", arguments->threads, "0: all cores")
      ->check(CLI::NonNegativeNumber);
  command->callback([arguments, &context] { run(*arguments, context); });
}

}  // namespace mg
