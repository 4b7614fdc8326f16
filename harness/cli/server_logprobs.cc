#include "harness/cli/server_logprobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "harness/client/compare_logprobs.h"
#include "harness/io/json_file.h"
#include "harness/lanes/checkpoint_source.h"
#include "harness/run/logit_metrics.h"
#include "harness/run/models.h"
#include "harness/run/prompts.h"
#include "harness/run/token_logprobs.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"

namespace mg {
namespace {

Finding server_finding(std::string rule, Severity severity, const std::string& url,
                       std::string message, std::string expected = {}, std::string actual = {}) {
  return {.rule = std::move(rule),
          .catalogue = {},
          .severity = severity,
          .command = "bench",
          .subject = url,
          .message = std::move(message),
          .expected = std::move(expected),
          .actual = std::move(actual),
          .fix = std::nullopt};
}

/// Whether a server's tokenizer may take blanks from a token's text.  Where the folder does not say
/// it depends on the server's version of transformers, so that it may.
bool may_clean_up(const std::filesystem::path& folder) {
  const std::filesystem::path settings = folder / "tokenizer_config.json";
  if (folder.empty() || !std::filesystem::exists(settings)) {
    return false;
  }
  const nlohmann::json json = read_json(settings);
  const auto found = json.find("clean_up_tokenization_spaces");
  return found == json.end() || *found != nlohmann::json(false);
}

std::string quoted_fault(const LogprobAnswer& answer, const std::string& key) {
  return without_key(
      answer.detail.empty() ? answer.fault : fmt::format("{}: {}", answer.fault, answer.detail),
      key);
}

}  // namespace

class LogprobRun::Impl {
 public:
  Impl(LogprobSetup setup, std::vector<Suite> suites, Report& report)
      : setup_(std::move(setup)), pool_(setup_.threads), sources_(setup_.folders) {
    choose_engine(report);
    open();
    load(std::move(suites), report);
    cleaned_up_ = may_clean_up(setup_.folders.adapter) || may_clean_up(setup_.folders.base) ||
                  may_clean_up(setup_.folders.merged);
  }

  void require(const SendRequests& send) const {
    for (const ServerModel& model : setup_.models) {
      const HttpRequest request =
          logprob_request(setup_.url, model.model, prompts_.front().ids, 1, setup_.top);
      const LogprobAnswer answer = read_logprobs(send(std::span(&request, 1)).front(),
                                                 {.model = model.model, .max_tokens = 1});
      if (!answer.fault.empty()) {
        throw Error(
            {.code = "server.no-logprobs",
             .what = fmt::format("the server gives no log-probabilities for \"{}\"", model.model),
             .where = setup_.url + "/completions",
             .expected = "choices[0].logprobs with the tokens of the answer",
             .actual = quoted_fault(answer, setup_.key),
             .hint = "vLLM, SGLang and llama.cpp's server give them for prompts of token "
                     "ids; leave out --logprobs to measure speed alone"});
      }
    }
  }

  void compare(const SendRequests& send, ServerResult& server, Report& report,
               const std::function<void(double)>& progress) {
    for (std::size_t i = 0; i < server.lanes.size(); ++i) {
      ServerLane& lane = server.lanes[i];
      const auto share = [&](double done) {
        progress((static_cast<double>(i) + done) / static_cast<double>(server.lanes.size()));
      };
      lane.logprobs = compare_lane(lane, send, share);
      report.verdicts.push_back(judge_logprobs(lane));
      add_findings(*lane.logprobs, lane.model, report);
    }
  }

 private:
  /// A served model's folders.
  struct Opened {
    std::unique_ptr<OpenModel> model;
    std::unique_ptr<OpenAdapter> adapter;
    std::unique_ptr<CheckpointSource> source;
  };

  /// What a model is asked to go on from.
  struct AskedPrompt {
    std::string id;
    std::vector<std::int32_t> ids;
    std::int64_t max_tokens = 0;
  };

  void choose_engine(Report& report) {
    const BackendChoice choice = choose_backend(
        setup_.engine.backend,
        {.arithmetic = setup_.engine.arithmetic, .pool = &pool_, .isa = setup_.engine.isa});
    setup_.engine.backend = choice.name;
    if (!choice.why.empty()) {
      report.findings.push_back(engine_note(choice.why));
    }
  }

  void open() {
    for (const ServerModel& model : setup_.models) {
      Opened opened;
      if (model.lane == "adapter") {
        opened.model = std::make_unique<OpenModel>(setup_.folders.base);
        opened.adapter = std::make_unique<OpenAdapter>(setup_.folders.adapter, *opened.model);
      } else {
        opened.model = std::make_unique<OpenModel>(setup_.folders.merged);
      }
      require_plain_weights(*opened.model);
      opened.source = std::make_unique<CheckpointSource>(
          opened.model->checkpoint, opened.model->model,
          opened.adapter ? &opened.adapter->attached : nullptr, &pool_);
      opened_.push_back(std::move(opened));
    }
  }

  void load(std::vector<Suite> suites, Report& report) {
    for (Suite& suite : suites) {
      std::erase_if(suite.prompts, [](const SuitePrompt& prompt) {
        return !prompt.images.empty() || prompt.pixel_values || prompt.pixel_values_videos;
      });
      if (!suite.prompts.empty()) {
        sources_.tokenize(suite);
      }
      for (const Opened& opened : opened_) {
        check_limits(suite, limits_of(*opened.model));
      }
    }
    std::int64_t left_out = 0;
    for (const SuitePrompt& prompt : all_prompts(suites)) {
      AskedPrompt asked{.id = prompt.id, .ids = beginning_of(prompt), .max_tokens = 0};
      asked.max_tokens = std::min(setup_.max_tokens, room_behind(asked.ids));
      if (asked.ids.empty() || asked.max_tokens < 1) {
        ++left_out;
        continue;
      }
      prompts_.push_back(std::move(asked));
    }
    const std::vector<Finding> findings = sources_.findings();
    report.findings.insert(report.findings.end(), findings.begin(), findings.end());
    if (prompts_.empty()) {
      throw Error({.code = "server.no-prompts",
                   .what = "no prompt of the suites leaves room for an answer",
                   .where = {},
                   .expected = "prompts shorter than the models' context",
                   .actual = fmt::format("{} left out", left_out),
                   .hint = "use a suite of shorter texts, such as --suite language"});
    }
    if (left_out > 0) {
      report.findings.push_back(server_finding(
          "server.logprobs-left-out", Severity::kNote, setup_.url,
          fmt::format("{} of {} prompts leave no room for an answer whose log-probabilities could "
                      "be compared",
                      left_out, left_out + std::ssize(prompts_))));
    }
  }

  std::int64_t room_behind(const std::vector<std::int32_t>& ids) const {
    std::int64_t room = setup_.max_tokens;
    for (const Opened& opened : opened_) {
      room = std::min(room, limits_of(*opened.model).max_tokens - std::ssize(ids));
    }
    return room;
  }

  const Opened& opened_for(const std::string& lane) const {
    const auto at = std::find_if(setup_.models.begin(), setup_.models.end(),
                                 [&](const ServerModel& model) { return model.lane == lane; });
    return opened_[static_cast<std::size_t>(at - setup_.models.begin())];
  }

  ServerLogprobs compare_lane(const ServerLane& lane, const SendRequests& send,
                              const std::function<void(double)>& progress) {
    const Opened& opened = opened_for(lane.lane);
    ServerLogprobs result;
    result.top = setup_.top;
    std::vector<ComparedAnswer> answers;
    const std::vector<LogprobQuery> queries = ask(lane.model, opened, send, result, answers);
    const Arithmetic rounded = stored_dtype(opened.model->checkpoint) == DType::kBF16
                                   ? Arithmetic::kBf16
                                   : Arithmetic::kFp16;
    result.floor_arithmetic = arithmetic_name(rounded);
    std::vector<std::vector<LogprobRow>> rows = token_logprobs(
        *opened.source, setup_.engine, rounded, queries, setup_.top, pool_, progress);
    for (std::size_t i = 0; i < answers.size(); ++i) {
      answers[i].engine = std::move(rows[i]);
    }
    summarise_logprobs(answers, {}, pool_, result);
    if (const Tokenizer* known = tokenizer(); known != nullptr && result.worst) {
      const auto id = static_cast<std::int32_t>(*result.worst->token);
      result.worst_text = known->decode(std::span(&id, 1), /*skip_special=*/false);
    }
    return result;
  }

  /// The server's answers to every prompt, and beside them what our engine is to be asked.
  std::vector<LogprobQuery> ask(const std::string& model, const Opened& opened,
                                const SendRequests& send, ServerLogprobs& result,
                                std::vector<ComparedAnswer>& answers) {
    std::vector<HttpRequest> requests;
    for (const AskedPrompt& prompt : prompts_) {
      requests.push_back(
          logprob_request(setup_.url, model, prompt.ids, prompt.max_tokens, setup_.top));
    }
    const std::vector<HttpAnswer> raw = send(requests);
    TokenIds ids(tokenizer(), opened.source->globals().lm_head.weight.outputs(), cleaned_up_);
    std::vector<LogprobQuery> queries;
    result.prompts = std::ssize(prompts_);
    for (std::size_t i = 0; i < prompts_.size(); ++i) {
      const AskedPrompt& prompt = prompts_[i];
      const LogprobAnswer answer =
          read_logprobs(raw[i], {.model = model, .max_tokens = prompt.max_tokens});
      if (!answer.fault.empty() && result.failed++ == 0) {
        result.first_failure =
            fmt::format("prompt \"{}\": {}", prompt.id, quoted_fault(answer, setup_.key));
      }
      ComparedAnswer compared{prompt.id, known_positions(answer, prompt.id, ids, result), {}};
      if (!compared.server.empty()) {
        queries.push_back(query_of(prompt, compared.server));
        answers.push_back(std::move(compared));
      }
    }
    return queries;
  }

  static LogprobQuery query_of(const AskedPrompt& prompt, const std::vector<KnownPosition>& text) {
    LogprobQuery query{
        .prompt = prompt.id, .ids = prompt.ids, .first = std::ssize(prompt.ids) - 1, .wanted = {}};
    for (const KnownPosition& position : text) {
      std::vector<std::int32_t>& wanted = query.wanted.emplace_back();
      wanted.push_back(position.chosen.id);
      for (const KnownToken& token : position.top) {
        wanted.push_back(token.id);
      }
      query.ids.push_back(position.chosen.id);
    }
    query.ids.pop_back();  // nothing is asked behind the last
    return query;
  }

  const Tokenizer* tokenizer() const {
    const PromptTokenizer* reference = sources_.reference();
    return reference == nullptr ? nullptr : &reference->tokenizer();
  }

  void add_findings(const ServerLogprobs& result, const std::string& model, Report& report) const {
    const auto warn = [&](const char* rule, std::string message, std::string expected,
                          std::string actual) {
      report.findings.push_back(server_finding(rule, Severity::kWarning, setup_.url,
                                               std::move(message), std::move(expected),
                                               std::move(actual)));
    };
    if (result.failed > 0) {
      warn("server.logprobs-failed",
           fmt::format("{} of {} answers of {} gave no log-probabilities to compare", result.failed,
                       result.prompts, model),
           "choices[0].logprobs of every token", result.first_failure);
    }
    if (result.unknown > 0) {
      warn("server.logprobs-unknown-tokens",
           fmt::format("{} tokens of {} have no certain id; {} tokens were not compared",
                       result.unknown, model, result.left_out),
           "ids, as vLLM (return_tokens_as_token_ids) and llama.cpp give them, or texts of one "
           "token",
           result.first_unknown);
    }
    if (result.unusable > 0) {
      warn("server.logprobs-unusable",
           fmt::format("{} log-probabilities of {} are none", result.unusable, model),
           "finite numbers of at most 0", result.first_unusable);
    }
    if (result.short_lists > 0) {
      warn("server.logprobs-short-lists",
           fmt::format("{} lists fewer likely tokens than were asked for in {} places", model,
                       result.short_lists),
           fmt::format("{} tokens", result.top), "fewer");
    }
    if (result.positions > 0 && !result.floor) {
      warn("server.logprobs-overflow",
           fmt::format("the engine's {} arithmetic overflows on the answers of {}, so that the "
                       "arithmetic's own noise is not known",
                       result.floor_arithmetic, model),
           "finite logits", "NaN or infinity");
    }
  }

  LogprobSetup setup_;
  ThreadPool pool_;
  PromptSources sources_;
  bool cleaned_up_ = false;
  std::vector<Opened> opened_;  // beside setup_.models
  std::vector<AskedPrompt> prompts_;
};

LogprobRun::LogprobRun(LogprobSetup setup, std::vector<Suite> suites, Report& report)
    : impl_(std::make_unique<Impl>(std::move(setup), std::move(suites), report)) {}

LogprobRun::~LogprobRun() = default;

void LogprobRun::require(const SendRequests& send) const {
  impl_->require(send);
}

void LogprobRun::compare(const SendRequests& send, ServerResult& server, Report& report,
                         const std::function<void(double)>& progress) {
  impl_->compare(send, server, report, progress);
}

}  // namespace mg
