// mergegauge tokenize MODEL: texts to token ids and back, a JSON object a line.
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "harness/cli/command.h"
#include "harness/cli/jsonl.h"
#include "harness/cli/model_folder.h"
#include "harness/io/chat_template/prompt_tokenizer.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

struct TokenizeOptions {
  std::string model;
  bool decode = false;
};

// A folder with its settings, or a tokenizer.json by itself.
Tokenizer open_tokenizer(const std::filesystem::path& model) {
  if (std::filesystem::is_regular_file(model)) {
    return Tokenizer::open(model);
  }
  require_model_folder(model);
  return PromptTokenizer::open(model).take_tokenizer();
}

[[noreturn]] void bad_member(const std::string& name, const std::string& expected) {
  throw Error({.code = "jsonl.bad-member",
               .what = "a line's member \"" + name + "\" is missing or of the wrong type",
               .where = "standard input",
               .expected = expected,
               .actual = {},
               .hint = {}});
}

bool flag_of(const nlohmann::ordered_json& line, const std::string& name) {
  if (!line.contains(name)) {
    return false;
  }
  if (!line[name].is_boolean()) {
    bad_member(name, "true or false");
  }
  return line[name].get<bool>();
}

nlohmann::ordered_json encoded(const Tokenizer& tokenizer, const nlohmann::ordered_json& line) {
  if (!line.contains("text") || !line["text"].is_string()) {
    bad_member("text", R"({"text": "..."})");
  }
  const auto ids = tokenizer.encode(line["text"].get<std::string>(), flag_of(line, "special"));
  nlohmann::ordered_json out;
  out["ids"] = ids;
  out["tokens"] = nlohmann::ordered_json::array();
  for (const std::int32_t id : ids) {
    out["tokens"].push_back(tokenizer.token_of(id).value_or(""));
  }
  return out;
}

nlohmann::ordered_json decoded(const Tokenizer& tokenizer, const nlohmann::ordered_json& line) {
  if (!line.contains("ids") || !line["ids"].is_array()) {
    bad_member("ids", R"({"ids": [1, 2, 3]})");
  }
  std::vector<std::int32_t> ids;
  for (const auto& id : line["ids"]) {
    if (!id.is_number_integer() || id < 0 || id > 0x7FFFFFFF) {
      bad_member("ids", "whole numbers below 2147483648");
    }
    ids.push_back(id.get<std::int32_t>());
  }
  nlohmann::ordered_json out;
  out["text"] = tokenizer.decode(ids, flag_of(line, "skip_special"));
  return out;
}

void run_tokenize(const TokenizeOptions& options) {
  const Tokenizer tokenizer = open_tokenizer(options.model);
  for (const std::string& warning : tokenizer.warnings()) {
    std::cerr << "warning: " << warning << '\n';
  }
  each_json_line(std::cin, [&](const nlohmann::ordered_json& line) {
    write_json_line(std::cout,
                    options.decode ? decoded(tokenizer, line) : encoded(tokenizer, line));
  });
}

}  // namespace

void add_tokenize_command(CLI::App& app, CommandContext&) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand(
      "tokenize",
      "Token ids of texts: a JSON object {\"text\", optional \"special\": true} a line on standard "
      "input, {\"ids\", \"tokens\"} on standard output");
  command->add_option("MODEL", options->model, "a model folder, or a tokenizer.json")->required();
  command->add_flag("--decode", options->decode,
                    "the other way: {\"ids\", optional \"skip_special\": true} in, {\"text\"} out");
  command->callback([options] { run_tokenize(*options); });
}

}  // namespace mg
