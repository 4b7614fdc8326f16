// A GGUF file that is to be served in merged's place: does it turn texts and chats into the same
// ids, and does llama.cpp compute the same from it?  From metadata alone; what its numbers change
// is measured by `compare --also`.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/io/chat_template/prompt_tokenizer.h"
#include "harness/io/json_file.h"
#include "harness/io/tokenizer/unicode.h"
#include "harness/lint/rules.h"
#include "harness/lint/served_tokenizer.h"
#include "harness/model/rope.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

using Chat = nlohmann::ordered_json;

/// One file beside merged's tokenizer.
struct ServedPair {
  const ServedGguf& gguf;
  GgufTokenizer theirs;
  PromptTokenizer ours;
};

/// Calls `check` for each file whose tokenizer and merged's can be read; where merged's cannot,
/// other rules say so.
void each_pair(const Context& context, const std::function<void(const ServedPair&)>& check) {
  for (const ServedGguf& gguf : context.ggufs) {
    GgufTokenizer theirs = read_gguf_tokenizer(gguf.file);
    if (theirs.tokens.empty()) {
      continue;  // gguf.tokens says so
    }
    try {
      check({gguf, std::move(theirs), PromptTokenizer::open(context.merged.scan.path)});
    } catch (const Error&) {
      continue;
    }
  }
}

std::string in_quotes(std::string_view text) {
  return nlohmann::json(utf8_lossy(text)).dump();
}

/// llama.cpp's converter writes added tokens with spaces for SentencePiece's sign for one.
std::string with_spaces(std::string text) {
  constexpr std::string_view kSign = "\u2581";
  for (std::size_t at = text.find(kSign); at != std::string::npos; at = text.find(kSign, at)) {
    text.replace(at, kSign.size(), " ");
  }
  return text;
}

void missing_tokens(const Context& context, Reporter& report) {
  for (const ServedGguf& gguf : context.ggufs) {
    if (read_gguf_tokenizer(gguf.file).tokens.empty()) {
      report.error({.subject = gguf.name + ": tokenizer.ggml.tokens",
                    .message = "the file has no tokenizer: llama.cpp cannot turn a text into ids",
                    .expected = "merged's tokens",
                    .actual = "none"});
    }
  }
}

void token_texts(const Context& context, Reporter& report) {
  missing_tokens(context, report);
  each_pair(context, [&](const ServedPair& pair) {
    const Tokenizer& ours = pair.ours.tokenizer();
    std::set<std::int32_t> added;
    for (const AddedToken& token : ours.added_tokens()) {
      added.insert(token.id);
    }
    std::int64_t others = 0;
    Reporter::Details first;
    for (std::int32_t id = 0; id < ours.id_limit(); ++id) {
      const std::optional<std::string> expected = ours.token_of(id);
      if (!expected) {
        continue;
      }
      const bool there = id < std::ssize(pair.theirs.tokens);
      const std::string actual = pair.theirs.text_of(id);
      if (there && (actual == *expected ||
                    (added.contains(id) && with_spaces(actual) == with_spaces(*expected)))) {
        continue;
      }
      if (others++ == 0) {
        first.expected = fmt::format("{} {}", id, in_quotes(*expected));
        first.actual = there ? in_quotes(actual) : "no such token";
      }
    }
    if (others > 0) {
      first.subject = pair.gguf.name + ": tokenizer.ggml.tokens";
      first.message = fmt::format(
          "{} of {} ids stand for other tokens than in merged's "
          "tokenizer.json",
          others, ours.id_limit());
      report.error(std::move(first));
    }
  });
}

void token_types(const Context& context, Reporter& report) {
  each_pair(context, [&](const ServedPair& pair) {
    std::vector<std::string> plain;
    for (const AddedToken& token : pair.ours.tokenizer().added_tokens()) {
      if (token.special && token.id < std::ssize(pair.theirs.types) &&
          pair.theirs.types[static_cast<std::size_t>(token.id)] ==
              static_cast<std::int64_t>(GgufTokenType::kNormal)) {
        plain.push_back(in_quotes(token.content));
      }
    }
    if (!plain.empty()) {
      report.error({.subject = pair.gguf.name + ": tokenizer.ggml.token_type",
                    .message = "special tokens are marked as normal ones: llama.cpp takes their "
                               "texts to pieces, in chats too",
                    .expected = "control or user-defined",
                    .actual = "normal: " + listed(plain)});
    }
  });
}

/// "a b" as llama.cpp's converter writes a pair: blanks inside of a part as U+0120.
std::string merge_text(const nlohmann::json& merge) {
  if (merge.is_string()) {
    return merge.get<std::string>();
  }
  std::string out;
  for (const nlohmann::json& part : merge) {
    out += out.empty() ? "" : " ";
    for (const char c : part.is_string() ? part.get<std::string>() : std::string()) {
      out += c == ' ' ? std::string("\u0120") : std::string(1, c);
    }
  }
  return out;
}

void merges(const Context& context, Reporter& report) {
  each_pair(context, [&](const ServedPair& pair) {
    const nlohmann::json file = read_json(context.merged.scan.path / "tokenizer.json");
    const auto place = nlohmann::json::json_pointer("/model/merges");
    if (!pair.theirs.byte_level() || !file.contains(place) || !file.at(place).is_array()) {
      return;
    }
    const nlohmann::json& ours = file.at(place);
    const std::vector<std::string>& theirs = pair.theirs.merges;
    const std::string subject = pair.gguf.name + ": tokenizer.ggml.merges";
    for (std::size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i) {
      const std::string expected = merge_text(ours[i]);
      if (expected != theirs[i]) {
        report.error({.subject = subject,
                      .message = fmt::format("from rank {} on, merges are not those of merged's "
                                             "tokenizer.json: texts fall into other tokens",
                                             i),
                      .expected = in_quotes(expected),
                      .actual = in_quotes(theirs[i])});
        return;
      }
    }
    if (ours.size() != theirs.size()) {
      report.error({.subject = subject,
                    .message = "the list of merges is not as long as that of merged's "
                               "tokenizer.json: texts fall into other tokens",
                    .expected = fmt::format("{} merges", ours.size()),
                    .actual = fmt::format("{}", theirs.size())});
    }
  });
}

void pre_tokenizer(const Context& context, Reporter& report) {
  each_pair(context, [&](const ServedPair& pair) {
    if (pair.theirs.byte_level() && pair.theirs.pre.value_or("default") == "default") {
      report.warning({.subject = pair.gguf.name + ": tokenizer.ggml.pre",
                      .message =
                          "the file does not name its pre-tokenizer: llama.cpp falls back to "
                          "a default that splits numbers and words otherwise",
                      .expected = "a pre-tokenizer's name",
                      .actual = pair.theirs.pre.value_or("none")});
    }
  });
}

void special_ids(const Context& context, Reporter& report) {
  each_pair(context, [&](const ServedPair& pair) {
    const std::set<std::int64_t> stops = stop_ids(context.merged.scan, context.merged.tokenizer);
    const std::string eos = pair.gguf.name + ": tokenizer.ggml.eos_token_id";
    if (!stops.empty() && !(pair.theirs.eos && stops.contains(*pair.theirs.eos))) {
      report.error({.subject = eos,
                    .message = "the token that ends a text is none of merged's: answers do not "
                               "stop where they should",
                    .expected = fmt::format("one of {}", fmt::join(stops, ", ")),
                    .actual = pair.theirs.eos ? fmt::format("{}", *pair.theirs.eos) : "none"});
    }
    const auto& special = pair.ours.settings().special_tokens;
    const auto bos = special.find("bos_token");
    const std::optional<std::int32_t> ours =
        bos == special.end() ? std::nullopt : pair.ours.tokenizer().id_of(bos->second);
    if (ours && pair.theirs.bos && *pair.theirs.bos != *ours) {
      Reporter::Details details{
          .subject = pair.gguf.name + ": tokenizer.ggml.bos_token_id",
          .message = "the token that begins a text is not merged's",
          .expected = fmt::format("{} {}", *ours, in_quotes(bos->second)),
          .actual = fmt::format("{} {}", *pair.theirs.bos,
                                in_quotes(pair.theirs.text_of(pair.theirs.bos)))};
      if (pair.theirs.add_bos) {
        report.error(std::move(details));
      } else {
        report.warning(std::move(details));  // templates may name it
      }
    }
  });
}

std::string yes_no(bool value) {
  return value ? "added" : "not added";
}

void added_ends(const Context& context, Reporter& report) {
  each_pair(context, [&](const ServedPair& pair) {
    const std::vector<std::optional<std::int32_t>> layout = pair.ours.tokenizer().layout();
    const bool before = !layout.empty() && layout.front().has_value();
    const bool after = !layout.empty() && layout.back().has_value();
    const auto differ = [&](const char* key, const char* where, bool ours, bool theirs) {
      if (ours != theirs) {
        report.error(
            {.subject = pair.gguf.name + ": tokenizer.ggml." + key,
             .message = fmt::format("llama.cpp {} a token {} every text, and merged's "
                                    "tokenizer does {}",
                                    theirs ? "adds" : "does not add", where, theirs ? "not" : "so"),
             .expected = yes_no(ours),
             .actual = yes_no(theirs)});
      }
    };
    differ("add_bos_token", "before", before, pair.theirs.add_bos);
    differ("add_eos_token", "behind", after, pair.theirs.add_eos);
  });
}

/// Chats that every template takes.
std::vector<Chat> chats() {
  const auto message = [](const char* role, const char* text) {
    return Chat{{"role", role}, {"content", text}};
  };
  const Chat user = message("user", "How far is it?");
  const Chat answer = message("assistant", "Two miles.");
  const Chat system = message("system", "Answer briefly.");
  std::vector<Chat> out;
  for (const Chat& messages :
       {Chat::array({user}), Chat::array({user, answer, message("user", "Thanks.")}),
        Chat::array({system, user})}) {
    out.push_back({{"messages", messages}, {"add_generation_prompt", true}});
  }
  return out;
}

/// A template with its variables.
struct Renderer {
  const ChatTemplate& chat_template;
  const ChatSettings& settings;

  /// Nothing where it refuses the chat.
  std::optional<std::string> operator()(const Chat& chat) const {
    try {
      return chat_template.render(chat_variables(settings, chat), ChatTime{2024, 7, 26}).text;
    } catch (const Error&) {
      return std::nullopt;
    }
  }
};

ChatSettings settings_of(const GgufTokenizer& tokenizer) {
  ChatSettings settings;
  for (const auto& [name, id] :
       {std::pair{"bos_token", tokenizer.bos}, std::pair{"eos_token", tokenizer.eos}}) {
    if (const std::string text = tokenizer.text_of(id); !text.empty()) {
      settings.special_tokens[name] = text;
    }
  }
  return settings;
}

std::string excerpt(std::string_view text, std::size_t at) {
  const std::size_t begin = at > 16 ? at - 16 : 0;
  return in_quotes(text.substr(begin, 48));
}

void other_rendering(const ServedPair& pair, const ChatTemplate& ours, const ChatTemplate& theirs,
                     Reporter& report) {
  const ChatSettings settings = settings_of(pair.theirs);
  const Renderer expected{ours, pair.ours.settings()};
  const Renderer actual{theirs, settings};
  const std::string subject = pair.gguf.name + ": tokenizer.chat_template";
  for (const Chat& chat : chats()) {
    const std::optional<std::string> left = expected(chat);
    const std::optional<std::string> right = actual(chat);
    if (!left || left == right) {
      continue;
    }
    if (!right) {
      report.error({.subject = subject,
                    .message = "the chat template refuses a chat that merged's renders",
                    .expected = in_quotes(*left),
                    .actual = "refused"});
      return;
    }
    const auto at = static_cast<std::size_t>(
        std::mismatch(left->begin(), left->end(), right->begin(), right->end()).first -
        left->begin());
    report.error({.subject = subject,
                  .message = fmt::format("the chat template renders another text than merged's, "
                                         "from byte {} of a chat on",
                                         at),
                  .expected = excerpt(*left, at),
                  .actual = excerpt(*right, at)});
    return;
  }
  if (ours.source() != theirs.source()) {
    report.note({.subject = subject,
                 .message = "the chat template is written otherwise than merged's, and renders the "
                            "same chats",
                 .expected = "merged's text",
                 .actual = "another"});
  }
}

std::optional<ChatTemplate> template_of_merged(const PromptTokenizer& tokenizer) {
  try {
    if (const auto stored = choose_chat_template(tokenizer.settings().templates, false)) {
      return ChatTemplate::parse(stored->source, stored->place);
    }
  } catch (const Error&) {
    return std::nullopt;  // another rule says so
  }
  return std::nullopt;
}

void chat_template(const Context& context, Reporter& report) {
  each_pair(context, [&](const ServedPair& pair) {
    const std::optional<ChatTemplate> ours = template_of_merged(pair.ours);
    const std::string subject = pair.gguf.name + ": tokenizer.chat_template";
    if (!ours) {
      return;
    }
    if (!pair.theirs.chat_template) {
      report.error({.subject = subject,
                    .message = "the file has no chat template: llama.cpp guesses one",
                    .expected = "merged's",
                    .actual = "none"});
      return;
    }
    try {
      const ChatTemplate theirs = ChatTemplate::parse(*pair.theirs.chat_template, subject);
      other_rendering(pair, *ours, theirs, report);
    } catch (const Error& error) {
      report.error({.subject = subject,
                    .message = "the chat template cannot be read: " + error.parts().what,
                    .expected = "merged's",
                    .actual = excerpt(*pair.theirs.chat_template, 0)});
    }
  });
}

void gguf_double_bos(const Context& context, Reporter& report) {
  each_pair(context, [&](const ServedPair& pair) {
    const std::string bos = pair.theirs.text_of(pair.theirs.bos);
    if (!pair.theirs.add_bos || !pair.theirs.chat_template || bos.empty()) {
      return;
    }
    try {
      const ChatTemplate theirs = ChatTemplate::parse(*pair.theirs.chat_template, pair.gguf.name);
      const ChatSettings settings = settings_of(pair.theirs);
      const std::optional<std::string> text = Renderer{theirs, settings}(chats().front());
      if (text && text->starts_with(bos)) {
        report.warning({.subject = pair.gguf.name + ": tokenizer.ggml.add_bos_token",
                        .message = "the chat template begins with the BOS token and llama.cpp adds "
                                   "it: its own server takes one out again, other callers send two",
                        .expected = "BOS from one of the two",
                        .actual = in_quotes(bos)});
      }
    } catch (const Error&) {
      return;  // gguf.template says so
    }
  });
}

bool near(double left, double right) {
  return std::abs(left - right) <= 1e-6 * std::max(std::abs(left), std::abs(right));
}

/// What a query of this layer turns by, whatever the config calls it.
std::vector<float> frequencies(const ModelConfig& config, const LayerConfig& layer) {
  if (!layer.use_rope || config.ropes.empty()) {
    return {};
  }
  const RopeConfig& rope = config.ropes[static_cast<std::size_t>(layer.rope)];
  std::vector<float> out = inverse_frequencies(rope, config.head_dim, 1);
  out.push_back(static_cast<float>(rope.attention_factor));
  return out;
}

bool same_frequencies(const std::vector<float>& left, const std::vector<float>& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(), [](float l, float r) {
    return near(static_cast<double>(l), static_cast<double>(r));
  });
}

struct ConfigGap {
  std::string what;
  std::string expected;
  std::string actual;
};

std::vector<ConfigGap> gaps(const ModelConfig& ours, const ModelConfig& theirs) {
  std::vector<ConfigGap> out;
  const auto number = [&](const char* what, double left, double right) {
    if (!near(left, right)) {
      out.push_back({what, fmt::format("{}", left), fmt::format("{}", right)});
    }
  };
  number("the norms' epsilon", ours.norm_eps, theirs.norm_eps);
  number("the scale of attention", ours.attention_scale, theirs.attention_scale);
  number("the cap of attention", ours.attention_softcap, theirs.attention_softcap);
  number("the cap of the logits", ours.final_softcap, theirs.final_softcap);
  if (ours.activation != theirs.activation) {
    out.push_back({"the activation", "merged's", "another"});
  }
  for (std::size_t l = 0; l < std::min(ours.layers.size(), theirs.layers.size()); ++l) {
    const LayerConfig& left = ours.layers[l];
    const LayerConfig& right = theirs.layers[l];
    if (left.sliding_window != right.sliding_window) {
      out.push_back({fmt::format("the window of layer {}", l),
                     left.sliding_window == 0 ? "none" : fmt::format("{}", left.sliding_window),
                     right.sliding_window == 0 ? "none" : fmt::format("{}", right.sliding_window)});
      break;
    }
    if (!same_frequencies(frequencies(ours, left), frequencies(theirs, right))) {
      const auto theta = [](const ModelConfig& config, const LayerConfig& layer) {
        return config.ropes.empty()
                   ? std::string("none")
                   : fmt::format("rope_theta {}",
                                 config.ropes[static_cast<std::size_t>(layer.rope)].theta);
      };
      out.push_back({fmt::format("the rotary frequencies of layer {}", l), theta(ours, left),
                     theta(theirs, right)});
      break;
    }
  }
  return out;
}

void config(const Context& context, Reporter& report) {
  for (const ServedGguf& gguf : context.ggufs) {
    if (gguf.config_error) {
      report.error({.subject = gguf.name,
                    .message = "the metadata does not describe a model that is known here: " +
                               gguf.config_error->what,
                    .expected = gguf.config_error->expected,
                    .actual = gguf.config_error->actual});
      continue;
    }
    const ModelConfig* ours = context.merged.arithmetic();
    if (ours == nullptr || !gguf.config) {
      continue;
    }
    for (const ConfigGap& gap : gaps(*ours, *gguf.config)) {
      report.warning({.subject = gguf.name,
                      .message = fmt::format("llama.cpp computes with another value than "
                                             "config.json says: {}",
                                             gap.what),
                      .expected = gap.expected,
                      .actual = gap.actual});
    }
  }
}

constexpr auto kGgufRules = std::to_array<Rule>({
    {.id = "gguf.tokens",
     .catalogue = "F58",
     .severity = Severity::kError,
     .needs = Needs::kGguf,
     .why = "Ids that stand for other tokens make other prompts of every text.",
     .fix = "convert merged again, with its own tokenizer files",
     .check = token_texts},
    {.id = "gguf.token-types",
     .catalogue = "F58",
     .severity = Severity::kError,
     .needs = Needs::kGguf,
     .why = "A special token that is no control token reaches the model as pieces of its text.",
     .fix = "convert merged again; its tokenizer.json says which tokens are special",
     .check = token_types},
    {.id = "gguf.merges",
     .catalogue = "F58",
     .severity = Severity::kError,
     .needs = Needs::kGguf,
     .why = "Texts fall into other tokens than in training.",
     .fix = "convert merged again, with its own tokenizer.json",
     .check = merges},
    {.id = "gguf.pre-tokenizer",
     .catalogue = "F58",
     .severity = Severity::kWarning,
     .needs = Needs::kGguf,
     .why = "Numbers and words are split otherwise than in training.",
     .fix = "convert again with a llama.cpp that knows the tokenizer",
     .check = pre_tokenizer},
    {.id = "gguf.special-ids",
     .catalogue = "F41 F58",
     .severity = Severity::kError,
     .needs = Needs::kGguf,
     .why = "Answers do not stop, or texts begin with another token than in training.",
     .fix = "convert again, or set the id (gguf_set_metadata.py of the gguf package)",
     .check = special_ids},
    {.id = "gguf.added-ends",
     .catalogue = "F58",
     .severity = Severity::kError,
     .needs = Needs::kGguf,
     .why = "Every text gains or lacks a token that training had otherwise.",
     .fix = "set tokenizer.ggml.add_bos_token and add_eos_token as merged's tokenizer does",
     .check = added_ends},
    {.id = "gguf.template",
     .catalogue = "F43 F58",
     .severity = Severity::kError,
     .needs = Needs::kGguf,
     .why = "Chats reach the model in another form than in training.",
     .fix = "convert again with merged's template, or give the server merged's",
     .check = chat_template},
    {.id = "gguf.double-bos",
     .catalogue = "F58",
     .severity = Severity::kWarning,
     .needs = Needs::kGguf,
     .why = "Chats begin with BOS twice wherever the caller does not take one out.",
     .fix = "set tokenizer.ggml.add_bos_token to false, or take BOS out of the template",
     .check = gguf_double_bos},
    {.id = "gguf.config",
     .catalogue = "F48 F58",
     .severity = Severity::kError,
     .needs = Needs::kGguf,
     .why = "The server computes another function than the one that was tested.",
     .fix = "convert merged again; some values llama.cpp does not read",
     .check = config},
});

}  // namespace

std::span<const Rule> gguf_rules() {
  return kGgufRules;
}

}  // namespace mg::lint
