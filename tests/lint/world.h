// A base, an adapter and a right merge of them, copied from the test data into a folder of its own,
// to plant faults in.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/lint/lint.h"
#include "tests/io/gguf_writer.h"
#include "tests/model/scratch_model.h"

namespace mg::lint {

struct FileTensor {
  std::string dtype;
  Shape shape;
  std::string bytes;
};

/// A safetensors file in memory, written as it is: nothing keeps it valid.
struct TensorFile {
  std::map<std::string, FileTensor> tensors;
  nlohmann::json metadata = {{"format", "pt"}};  // null: none

  static TensorFile read(const std::filesystem::path& path);
  void write(const std::filesystem::path& path) const;

  void rename(const std::string& from, const std::string& to);
  /// Applies `name` to every name.
  void rename_all(const std::function<std::string(const std::string&)>& name);
  void erase(const std::string& name) { tensors.erase(name); }
  /// Zeros of this dtype and shape.
  void add(const std::string& name, const std::string& dtype, const Shape& shape);
};

class World {
 public:
  /// "golden/qwen2", "demo": a folder of tests/ with base/, adapter/ and merged/.
  explicit World(const std::string& source);

  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  std::filesystem::path base() const { return path("base"); }
  std::filesystem::path adapter() const { return path("adapter"); }
  std::filesystem::path merged() const { return path("merged"); }

  /// Changes a JSON file: "merged/config.json".
  void edit(const std::string& file, const std::function<void(nlohmann::json&)>& change) const;
  /// Changes a safetensors file; model.safetensors of "merged" unless told.
  void edit_tensors(const std::function<void(TensorFile&)>& change,
                    const std::string& file = "merged/model.safetensors") const;
  void write(const std::string& file, const std::string& text) const;
  std::string text(const std::string& file) const;
  void remove(const std::string& file) const;
  void copy(const std::string& from, const std::string& to) const;
  /// Splits model.safetensors of "merged" into so many shards with an index.
  void shard(int count) const;

  /// Writes merged as "served.gguf" beside the folders; options() names it from then on.
  void serve_gguf(const std::function<void(GgufWriter&)>& change = {}) const;

  Options options() const;
  Result lint() const { return run(options()); }

 private:
  ScratchFolder folder_;
};

/// Removes the architecture from the table's reach, in base and merged.
void make_unknown(World& world);

/// The ids of the rules that found something above a note, each once, sorted.
std::vector<std::string> rules_above_note(const Result& result);

/// All findings above notes as text, for failure messages.
std::string findings_text(const Result& result);

}  // namespace mg::lint
