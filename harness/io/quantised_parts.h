// The tensors that quantised weights are made of, while their readers pick them: by name, each
// claimed once, with the errors that all formats share.  Private to harness/io.  Tested through
// tests/io/quantised_test.cc and tests/io/quantised.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/quantised_tensor.h"

namespace mg {

class QuantisedParts {
 public:
  /// `writer`, who stores such parts, and `remedy`, what to do, are for messages.
  QuantisedParts(std::vector<StoredTensor>& tensors, const std::filesystem::path& folder,
                 std::string writer, std::string remedy);

  const std::vector<StoredTensor>& all() const { return tensors_; }
  /// nullptr where there is none; claims nothing.
  const StoredTensor* find(const std::string& name) const;
  bool is_claimed(const std::string& name) const { return claimed_.count(name) > 0; }
  void claim(const StoredTensor& stored) { claimed_.insert(stored.name); }

  /// Claims `name` for `tensor`, and appends it to its parts.  Throws Error "quantised.incomplete"
  /// where it is missing, "quantised.layout" where another weight has it.
  const StoredTensor& part(const std::string& name, QuantisedTensor& tensor);

  /// Throws Error "quantised.layout" naming `stored` with what it is unless `holds`.
  void require(bool holds, const StoredTensor& stored, std::string expected) const;
  [[noreturn]] void refuse(std::string_view code, std::string what, const std::string& name,
                           std::string expected, std::string actual, std::string hint = {}) const;
  /// "FOLDER: NAME"
  std::string where(const std::string& name) const;

  /// F16 or BF16, whichever most bytes of the weights that stayed as they were have.
  DType plain_dtype() const { return plain_dtype_; }
  /// Drops what was claimed from the list of tensors.
  void drop_claimed();

 private:
  std::vector<StoredTensor>& tensors_;
  const std::filesystem::path& folder_;
  std::string writer_;
  std::string remedy_;
  DType plain_dtype_ = DType::kF16;
  std::map<std::string, const StoredTensor*, std::less<>> by_name_;
  std::set<std::string> claimed_;
};

/// "F16 [64, 2]"
std::string form_of(const TensorView& view);

}  // namespace mg
