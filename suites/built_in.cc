#include "suites/built_in.h"

#include <string>

#include "kernels/core/error.h"
#include "suites/reader.h"
#include "suites/smoke.h"
#include "suites/written_files.h"

namespace mg {

const std::vector<BuiltInSuite>& built_in_suites() {
  static const std::vector<BuiltInSuite> kSuites{
      {kSmokeName, 24, 3072, "token ids drawn by a seed; any model, no tokenizer, seconds"},
      {"language", 49, 8455, "everyday texts in forty languages and sixteen scripts"},
      {"chat", 36, 3371,
       "conversations: system prompts, tool calls, JSON answers; needs a chat template"},
      {"code", 18, 2824, "programs in many languages, configs, a diff, a log"},
      {"numbers", 22, 2601, "arithmetic, sequences, dates, units, tables"},
      {"adversarial", 35, 2332,
       "blanks, control characters, repetitions, special tokens in the text"},
      {"long", 7, 16048, "documents of 1,000 to 4,000 tokens; needs a context of 4,096"},
      {"vision", 10, 1008,
       "charts, shapes, tables, photos; needs a model and a template for images"},
  };
  return kSuites;
}

namespace {

std::string_view embedded(const std::string& path) {
  for (const EmbeddedFile& file : written_files()) {
    if (file.path == path) {
      return file.bytes();
    }
  }
  MG_CHECK(false, "a written suite's image is part of the program: " + path);
}

}  // namespace

std::optional<Suite> written_suite(std::string_view name) {
  for (const EmbeddedFile& file : written_files()) {
    if (file.path == std::string(name) + "/suite.jsonl") {
      // The path is for messages: where the suite stands in the source tree.
      Suite suite = parse_suite(file.bytes(), name, "suites/" + std::string(file.path));
      for (SuitePrompt& prompt : suite.prompts) {
        for (SuiteImage& image : prompt.images) {
          image.bytes = embedded(std::string(name) + "/" + image.name);
        }
      }
      return suite;
    }
  }
  return std::nullopt;
}

}  // namespace mg
