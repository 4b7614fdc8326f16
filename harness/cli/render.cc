// mergegauge render MODEL: chats to text by the model's chat template, a JSON object a line.
#include <ctime>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "harness/cli/command.h"
#include "harness/cli/jsonl.h"
#include "harness/cli/model_folder.h"
#include "harness/io/chat_template/chat_settings.h"
#include "harness/io/chat_template/chat_template.h"
#include "harness/io/json_file.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

struct RenderOptions {
  std::string model;
  std::string template_file;
};

ChatTime local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm calendar{};
  localtime_r(&now, &calendar);
  return {calendar.tm_year + 1900, calendar.tm_mon + 1, calendar.tm_mday,
          calendar.tm_hour,        calendar.tm_min,     calendar.tm_sec};
}

// The template for a chat, parsed when first needed.
class Templates {
 public:
  Templates(const RenderOptions& options, const ChatSettings& settings)
      : options_(options), settings_(settings) {}

  const ChatTemplate& for_chat(bool tools) {
    auto& slot = tools ? with_tools_ : plain_;
    if (slot) {
      return *slot;
    }
    if (!options_.template_file.empty()) {
      slot = ChatTemplate::parse(read_text(options_.template_file), options_.template_file);
      return *slot;
    }
    const auto stored = choose_chat_template(settings_.templates, tools);
    if (!stored) {
      throw Error({.code = "chat_template.missing",
                   .what = "the folder has no chat template",
                   .where = options_.model,
                   .expected = "chat_template.jinja, or \"chat_template\" in tokenizer_config.json",
                   .actual = {},
                   .hint = "give one with --template FILE"});
    }
    slot = ChatTemplate::parse(stored->source, stored->place);
    return *slot;
  }

 private:
  const RenderOptions& options_;
  const ChatSettings& settings_;
  std::optional<ChatTemplate> plain_;
  std::optional<ChatTemplate> with_tools_;
};

nlohmann::ordered_json rendered(Templates& templates, const ChatSettings& settings,
                                nlohmann::ordered_json chat) {
  nlohmann::ordered_json out;
  try {
    ChatTime now = local_time();
    if (chat.contains("now")) {
      now = ChatTime::parse(chat["now"].is_string() ? chat["now"].get<std::string>() : "");
      chat.erase("now");
    }
    const bool tools = chat.contains("tools") && !chat["tools"].is_null();
    const ChatTemplate& chosen = templates.for_chat(tools);
    out["text"] = chosen.render(chat_variables(settings, chat), now).text;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) {
      throw;
    }
    out["error"] = render_error(error.parts());
  }
  return out;
}

void run_render(const RenderOptions& options) {
  if (options.model.empty() && options.template_file.empty()) {
    throw Error({.code = "usage.render",
                 .what = "render needs a model folder or --template FILE",
                 .where = {},
                 .expected = {},
                 .actual = {},
                 .hint = {}},
                ErrorKind::kUsage);
  }
  if (!options.model.empty()) {
    require_model_folder(options.model);
  }
  const ChatSettings settings =
      options.model.empty() ? ChatSettings{} : read_chat_settings(options.model);
  Templates templates(options, settings);
  each_json_line(std::cin, [&](const nlohmann::ordered_json& line) {
    write_json_line(std::cout, rendered(templates, settings, line));
  });
}

}  // namespace

void add_render_command(CLI::App& app, CommandContext&) {
  auto options = std::make_shared<RenderOptions>();
  CLI::App* command = app.add_subcommand(
      "render",
      "Texts of chats: a JSON object {\"messages\", \"tools\", \"add_generation_prompt\", any "
      "other template variable, \"now\" for strftime_now} a line on standard input, {\"text\"} or "
      "{\"error\"} on standard output");
  command->add_option("MODEL", options->model, "a model folder (its special tokens are variables)");
  command->add_option("--template", options->template_file, "a template instead of the folder's")
      ->type_name("FILE");
  command->callback([options] { run_render(*options); });
}

}  // namespace mg
