#include "harness/cli/server_bench.h"

#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

#include "harness/cli/server_logprobs.h"
#include "harness/cli/version.h"
#include "harness/client/server_bench.h"
#include "harness/run/describe.h"
#include "harness/run/models.h"
#include "harness/run/report_run.h"
#include "kernels/core/error.h"
#include "suites/load.h"
#include "suites/smoke.h"

namespace mg {
namespace {

class BenchServer {
 public:
  BenchServer(const ServerFlags& flags, const BenchSetup& setup, const CommandContext& context,
              const CheckProgress& progress)
      : flags_(flags), setup_(setup), url_(parse_server_url(flags.url)), progress_(progress) {
    report_.tool.version = kVersion;
    report_.tool.backend = "server";
    report_.tool.machine = machine_name();
    report_.inputs.base = setup.base.string();
    report_.inputs.adapter = setup.adapter.string();
    report_.inputs.merged = setup.merged.string();
    report_.inputs.command = context.command_line;
    options_.url = url_;
    options_.key = api_key_from_environment();
    if (!flags.adapter_model.empty()) {
      options_.models.push_back({"adapter", flags.adapter_model});
    }
    options_.models.push_back({"merged", flags.model});
    options_.completion = {.max_tokens = flags.max_tokens, .ignore_eos = !flags.stop_at_eos};
    options_.requests = flags.requests;
    options_.rounds = setup.options.rounds;
    options_.concurrency = flags.concurrency;
    options_.rate = flags.rate;
    options_.margin = setup.options.margin;
    options_.error_limit = flags.error_limit;
  }

  Report run() {
    ReportRun run(report_, progress_);
    run.run([&] {
      run.phase("suites", [this] { load_prompts_to_send(); });
      run.phase("server", [this] { ask(); });
      if (logprobs_) {
        run.phase("logprobs", [this] {
          logprobs_->compare(sender(), *report_.bench->server, report_,
                             [this](double done) { progress_("logprobs", done); });
        });
      }
    });
    return std::move(report_);
  }

 private:
  void load_prompts_to_send() {
    const std::vector<std::string> names =
        flags_.suites.empty() ? std::vector<std::string>{"language"} : flags_.suites;
    std::vector<Suite> suites;
    for (const std::string& name : names) {
      suites.push_back(load_suite(name, limits_for(name)));
      const Suite& suite = suites.back();
      report_.inputs.suites.push_back({.name = suite.name,
                                       .digest = suite.digest,
                                       .prompts = std::ssize(suite.prompts),
                                       .tokens = suite.total_tokens(),
                                       .token_ids = {}});
    }
    ServerPrompts prompts = server_prompts(suites);
    left_out(prompts.with_images, "images are not sent to a server");
    left_out(prompts.empty, "nothing stands before what a model is to write");
    if (prompts.prompts.empty()) {
      throw Error(
          {.code = "suite.empty",
           .what = "no prompt of the suites can be sent",
           .where = {},
           .expected = "texts, chats or token ids",
           .actual = fmt::format("{} with images, {} empty", prompts.with_images, prompts.empty),
           .hint = "use a suite of texts, such as --suite language"});
    }
    options_.prompts = std::move(prompts.prompts);
    if (flags_.logprobs > 0) {
      logprobs_ = std::make_unique<LogprobRun>(
          LogprobSetup{
              .url = url_.base,
              .models = options_.models,
              .folders = {.base = setup_.base, .adapter = setup_.adapter, .merged = setup_.merged},
              .engine = setup_.engine,
              .top = flags_.logprobs,
              .max_tokens = flags_.max_tokens,
              .threads = flags_.threads,
              .key = options_.key},
          std::move(suites), report_);
    }
  }

  /// Of the base where its folder is given; only generated ids need them.
  ModelLimits limits_for(const std::string& suite) const {
    if (!setup_.base.empty()) {
      return limits_of(OpenModel(setup_.base));
    }
    if (suite == kSmokeName) {
      throw Error({.code = "suite.needs-base",
                   .what = "the suite draws token ids from the model's vocabulary",
                   .where = "suite smoke",
                   .expected = "--base, the folder of the base model",
                   .actual = "none",
                   .hint = "or use a suite of texts, such as --suite language"});
    }
    return {};
  }

  void left_out(std::int64_t prompts, const std::string& why) {
    if (prompts > 0) {
      report_.findings.push_back(
          {.rule = "server.prompts-left-out",
           .catalogue = {},
           .severity = Severity::kNote,
           .command = "bench",
           .subject = url_.base,
           .message = fmt::format("{} {} left out: {}", prompts,
                                  prompts == 1 ? "prompt was" : "prompts were", why),
           .expected = {},
           .actual = {},
           .fix = std::nullopt});
    }
  }

  SendRequests sender() {
    return [this](std::span<const HttpRequest> requests) { return client_->send(requests); };
  }

  void ask() {
    const char* certificates = std::getenv("SSL_CERT_FILE");
    HttpOptions http;
    http.at_once = static_cast<std::size_t>(flags_.concurrency);
    http.rate = flags_.rate;
    http.timeout_s = flags_.timeout_s;
    http.api_key = options_.key;
    http.ca_file = certificates == nullptr ? "" : certificates;
    http.direct = url_.loopback;
    client_ = std::make_unique<HttpClient>(http);
    std::vector<std::string> names;
    for (const ServerModel& model : options_.models) {
      names.push_back(model.model);
    }
    check_server(*client_, url_.base, names, options_.key);
    if (logprobs_) {
      logprobs_->require(sender());
    }
    ServerRun run =
        run_server_bench(options_, sender(), [this](double done) { progress_("server", done); });
    report_.bench = std::move(run.result);
    report_.findings.insert(report_.findings.end(), run.findings.begin(), run.findings.end());
    report_.verdicts.insert(report_.verdicts.end(), run.verdicts.begin(), run.verdicts.end());
  }

  const ServerFlags& flags_;
  const BenchSetup& setup_;
  ServerUrl url_;
  const CheckProgress& progress_;
  ServerBenchOptions options_;
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<LogprobRun> logprobs_;
  Report report_;
};

}  // namespace

CLI::Option* add_server_options(CLI::App& command, ServerFlags& flags) {
  CLI::Option* url = command.add_option(
      "--openai", flags.url,
      "URL of a running OpenAI-compatible server (vLLM, SGLang, llama.cpp) to measure instead");
  const auto of_server = [&](CLI::Option* option) { return option->needs(url)->group("Server"); };
  url->group("Server");
  of_server(command.add_option("--model", flags.model, "the merged model's name on the server"));
  of_server(command.add_option("--adapter-model", flags.adapter_model,
                               "the name of base + adapter on the server, to hold merged against"));
  of_server(command.add_option("--suite", flags.suites,
                               "prompts, as for check (default: language); may be given several "
                               "times"));
  of_server(command.add_option("--requests", flags.requests, "of a turn"))
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  of_server(command.add_option("--concurrency", flags.concurrency, "requests at once"))
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  of_server(command.add_option("--rate", flags.rate,
                               "requests sent per second (default: as soon as there is room)"))
      ->check(CLI::PositiveNumber);
  of_server(command.add_option("--max-tokens", flags.max_tokens, "tokens of an answer"))
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  of_server(command.add_option("--timeout", flags.timeout_s, "seconds a request may take"))
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  of_server(
      command.add_option("--error-limit", flags.error_limit, "share of requests that may fail"))
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  of_server(command.add_flag("--stop-at-eos", flags.stop_at_eos,
                             "let texts end where the model ends them (default: ignore_eos)"));
  of_server(command.add_option("--logprobs", flags.logprobs,
                               "also compare this many likeliest tokens' log-probabilities, and "
                               "the written ones', to our own engine's on --merged, and on --base "
                               "with --adapter"))
      ->check(CLI::Range(1, 20));
  return url;
}

void bench_server(const ServerFlags& flags, const BenchSetup& setup, const ReportTargets& targets,
                  CommandContext& context) {
  PhaseBar bar(context.terminal);
  const CheckProgress progress = [&](const std::string& name, double done) {
    bar.update(name, done);
  };
  const Report report = BenchServer(flags, setup, context, progress).run();
  bar.finish();
  give_report(report, targets, context.terminal);
  context.exit_code = exit_code(report.status);
}

}  // namespace mg
