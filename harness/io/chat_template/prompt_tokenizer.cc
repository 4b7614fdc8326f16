#include "harness/io/chat_template/prompt_tokenizer.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/io/tokenizer/unicode.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

Error missing_tokenizer(const fs::path& folder) {
  ErrorParts parts{.code = "tokenizer.missing",
                   .what = "the folder has no tokenizer.json",
                   .where = folder.string(),
                   .expected = "tokenizer.json",
                   .actual = {},
                   .hint = {}};
  for (const std::string_view name : {"tokenizer.model", "vocab.json", "tekken.json"}) {
    if (fs::exists(folder / name)) {
      parts.actual = std::string(name);
      parts.hint =
          "convert it: python -c \"from transformers import AutoTokenizer as T; "
          "T.from_pretrained('" +
          folder.string() + "').save_pretrained('" + folder.string() + "')\"";
      break;
    }
  }
  return Error(std::move(parts));
}

std::string quoted_token(const Tokenizer& tokenizer, std::int32_t id) {
  return std::to_string(id) + " \"" + tokenizer.token_of(id).value_or("?") + "\"";
}

bool is_assistant(const nlohmann::ordered_json& message) {
  return message.is_object() && message.contains("role") && message["role"] == "assistant";
}

}  // namespace

PromptTokenizer PromptTokenizer::open(const fs::path& folder) {
  if (!fs::is_regular_file(folder / "tokenizer.json")) {
    throw missing_tokenizer(folder);
  }
  PromptTokenizer out(Tokenizer::open(folder / "tokenizer.json"));
  out.folder_ = folder;
  out.settings_ = read_chat_settings(folder);
  out.set_layout();
  for (const bool tools : {false, true}) {
    out.prepare_template(tools);
  }
  return out;
}

// A template that cannot be read matters only to who renders it.
void PromptTokenizer::prepare_template(bool tools) {
  try {
    if (const auto stored = choose_chat_template(settings_.templates, tools)) {
      const std::string file = (folder_ / stored->place).string();
      const std::string name = stored->name == "default" ? file : file + ", " + stored->name;
      (tools ? with_tools_ : plain_) = ChatTemplate::parse(stored->source, name);
    }
  } catch (const Error& error) {
    (tools ? with_tools_error_ : plain_error_) = error.parts();
  }
}

// add_bos_token and add_eos_token, where a folder says either, replace the file's post-processor
// (transformers' update_post_processor).
void PromptTokenizer::set_layout() {
  if (!settings_.add_bos && !settings_.add_eos) {
    return;
  }
  std::vector<std::optional<std::int32_t>> layout;
  const auto add = [&](std::optional<bool> wanted, const char* name) {
    const auto token = settings_.special_tokens.find(name);
    if (!wanted.value_or(false) || token == settings_.special_tokens.end()) {
      return;
    }
    if (const auto id = tokenizer_.id_of(token->second)) {
      layout.push_back(id);
    }
  };
  add(settings_.add_bos, "bos_token");
  layout.push_back(std::nullopt);
  add(settings_.add_eos, "eos_token");
  tokenizer_.set_layout(std::move(layout));
}

PromptTokens PromptTokenizer::encode_text(std::string_view text) const {
  TokenizedText tokens = tokenizer_.encode_with_spans(text, true);
  return {std::string(text), std::move(tokens.ids), std::move(tokens.spans), {}, true};
}

RenderedChat PromptTokenizer::render(const nlohmann::ordered_json& chat,
                                     std::optional<ChatTime> now) const {
  const bool tools = chat.contains("tools") && !chat["tools"].is_null();
  const auto& chosen = tools ? with_tools_ : plain_;
  if (const auto& error = tools ? with_tools_error_ : plain_error_) {
    throw Error(*error);
  }
  if (!chosen) {
    throw Error({.code = "chat_template.missing",
                 .what = "the folder has no chat template",
                 .where = folder_.string(),
                 .expected = "chat_template.jinja, or \"chat_template\" in tokenizer_config.json",
                 .actual = {},
                 .hint = "copy the template the model was trained with"});
  }
  return chosen->render(chat_variables(settings_, chat), now);
}

// The assistant's words in the text: what {% generation %} wrote; else, for each of its messages,
// what the message adds to the prompt that asks for it.
std::vector<TextRange> PromptTokenizer::assistant_text(const nlohmann::ordered_json& chat,
                                                       const RenderedChat& whole,
                                                       std::optional<ChatTime> now,
                                                       bool& complete) const {
  if (!whole.generated.empty()) {
    return whole.generated;
  }
  std::vector<TextRange> out;
  const auto& messages = chat.at("messages");
  std::size_t searched = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (!is_assistant(messages[i])) {
      continue;
    }
    const auto head_text = [&](std::size_t count, bool prompt) -> std::optional<std::string> {
      nlohmann::ordered_json head = chat;
      head["messages"] = nlohmann::ordered_json(
          messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(count));
      head["add_generation_prompt"] = prompt;
      try {
        return render(head, now).text;
      } catch (const Error&) {
        return std::nullopt;  // a template may refuse a part of a chat
      }
    };
    const auto before = head_text(i, true);
    const auto with = head_text(i + 1, false);
    if (before && with && with->starts_with(*before) && whole.text.starts_with(*with)) {
      out.push_back({before->size(), with->size()});
      searched = with->size();
      continue;
    }
    const bool has_text = messages[i].contains("content") && messages[i]["content"].is_string();
    const std::string content = has_text ? messages[i]["content"].get<std::string>() : "";
    const std::size_t at = content.empty() ? std::string::npos : whole.text.find(content, searched);
    if (at == std::string::npos) {
      complete = false;
      continue;
    }
    out.push_back({at, at + content.size()});
    searched = at + content.size();
  }
  return out;
}

PromptTokens PromptTokenizer::encode_chat(const nlohmann::ordered_json& chat,
                                          std::optional<ChatTime> now) const {
  if (!chat.is_object() || !chat.contains("messages") || !chat["messages"].is_array()) {
    throw Error({.code = "chat_template.bad-input",
                 .what = "a chat needs a list \"messages\"",
                 .where = {},
                 .expected = R"({"messages": [{"role": ..., "content": ...}]})",
                 .actual = {},
                 .hint = {}});
  }
  nlohmann::ordered_json complete_chat = chat;
  const auto& messages = chat["messages"];
  if (!chat.contains("add_generation_prompt")) {
    complete_chat["add_generation_prompt"] = messages.empty() || !is_assistant(messages.back());
  }
  const RenderedChat rendered = render(complete_chat, now);
  PromptTokens out;
  out.text = rendered.text;
  TokenizedText tokens = tokenizer_.encode_with_spans(out.text, false);
  out.ids = std::move(tokens.ids);
  out.spans = std::move(tokens.spans);
  for (const TextRange& range :
       assistant_text(complete_chat, rendered, now, out.assistant_complete)) {
    // A token belongs to the assistant if it begins inside its words.
    const auto first = std::find_if(out.spans.begin(), out.spans.end(), [&](const TextRange& span) {
      return span.begin >= range.begin;
    });
    const auto last = std::find_if(first, out.spans.end(),
                                   [&](const TextRange& span) { return span.begin >= range.end; });
    if (first != last) {
      out.assistant.push_back({static_cast<std::size_t>(first - out.spans.begin()),
                               static_cast<std::size_t>(last - out.spans.begin())});
    }
  }
  return out;
}

std::optional<TokenDifference> first_difference(const PromptTokenizer& reference,
                                                const PromptTokens& reference_tokens,
                                                const PromptTokenizer& subject,
                                                const PromptTokens& subject_tokens) {
  const auto& left = reference_tokens.ids;
  const auto& right = subject_tokens.ids;
  const auto [at_left, at_right] =
      std::mismatch(left.begin(), left.end(), right.begin(), right.end());
  if (at_left == left.end() && at_right == right.end()) {
    return std::nullopt;
  }
  TokenDifference out;
  out.position = static_cast<std::size_t>(at_left - left.begin());
  out.reference = at_left == left.end() ? "the end" : quoted_token(reference.tokenizer(), *at_left);
  out.subject = at_right == right.end() ? "the end" : quoted_token(subject.tokenizer(), *at_right);
  const std::size_t end = out.position < reference_tokens.spans.size()
                              ? reference_tokens.spans[out.position].begin
                              : reference_tokens.text.size();
  std::size_t begin = end > 40 ? end - 40 : 0;
  while (begin < end &&
         (static_cast<unsigned char>(reference_tokens.text[begin]) & 0xC0U) == 0x80U) {
    ++begin;
  }
  out.text_before = utf8_lossy(reference_tokens.text.substr(begin, end - begin));
  return out;
}

}  // namespace mg
