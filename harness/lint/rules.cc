#include "harness/lint/rules.h"

namespace mg::lint {

const std::vector<const Rule*>& rules() {
  static const std::vector<const Rule*> kAll = [] {
    std::vector<const Rule*> all;
    for (const std::span<const Rule> family :
         {file_rules(), index_rules(), quantization_rules(), dtype_rules(), name_rules(),
          tensor_rules(), head_rules(), config_rules(), tokenizer_rules(), companion_file_rules(),
          adapter_rules(), serving_rules(), gguf_rules()}) {
      for (const Rule& rule : family) {
        all.push_back(&rule);
      }
    }
    return all;
  }();
  return kAll;
}

}  // namespace mg::lint
