#include "tests/lint/world.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

namespace mg::lint {

namespace fs = std::filesystem;

TensorFile TensorFile::read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof(length));
  std::string text(length, ' ');
  file.read(text.data(), static_cast<std::streamsize>(length));
  std::stringstream rest;
  rest << file.rdbuf();
  const std::string data = rest.str();
  TensorFile result;
  result.metadata = nullptr;
  const nlohmann::json header = nlohmann::json::parse(text);
  for (const auto& [name, record] : header.items()) {
    if (name == "__metadata__") {
      result.metadata = record;
      continue;
    }
    const std::size_t begin = record.at("data_offsets").at(0);
    const std::size_t end = record.at("data_offsets").at(1);
    result.tensors[name] = {record.at("dtype"), record.at("shape").get<Shape>(),
                            data.substr(begin, end - begin)};
  }
  return result;
}

void TensorFile::write(const fs::path& path) const {
  nlohmann::json header;
  if (!metadata.is_null()) {
    header["__metadata__"] = metadata;
  }
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length));
  file << text << data;
}

void TensorFile::rename(const std::string& from, const std::string& to) {
  FileTensor moved = std::move(tensors.at(from));
  tensors.erase(from);
  tensors[to] = std::move(moved);
}

void TensorFile::rename_all(const std::function<std::string(const std::string&)>& name) {
  std::map<std::string, FileTensor> renamed;
  for (auto& [old_name, tensor] : tensors) {
    renamed[name(old_name)] = std::move(tensor);
  }
  tensors = std::move(renamed);
}

void TensorFile::add(const std::string& name, const std::string& dtype, const Shape& shape) {
  const std::int64_t bits =
      dtype_bits(dtype_from_name(dtype).value()) * element_count(shape).value();
  tensors[name] = {dtype, shape, std::string(static_cast<std::size_t>(bits / 8), '\0')};
}

World::World(const std::string& source) {
  for (const char* part : {"base", "adapter", "merged"}) {
    fs::copy(fs::path(MG_TEST_DATA) / source / part, path(part), fs::copy_options::recursive);
    for (const auto& entry : fs::recursive_directory_iterator(path(part))) {
      fs::permissions(entry.path(), fs::perms::owner_write, fs::perm_options::add);
    }
  }
}

void World::edit(const std::string& file,
                 const std::function<void(nlohmann::json&)>& change) const {
  nlohmann::json json = load_json(path(file));
  change(json);
  std::ofstream(path(file)) << json.dump(2);
}

void World::edit_tensors(const std::function<void(TensorFile&)>& change,
                         const std::string& file) const {
  TensorFile tensors = TensorFile::read(path(file));
  change(tensors);
  tensors.write(path(file));
}

void World::write(const std::string& file, const std::string& text) const {
  fs::create_directories(path(file).parent_path());
  std::ofstream(path(file), std::ios::binary) << text;
}

std::string World::text(const std::string& file) const {
  std::stringstream text;
  text << std::ifstream(path(file), std::ios::binary).rdbuf();
  return text.str();
}

void World::remove(const std::string& file) const {
  fs::remove_all(path(file));
}

void World::copy(const std::string& from, const std::string& to) const {
  fs::copy(path(from), path(to), fs::copy_options::recursive);
}

void World::shard(int count) const {
  TensorFile whole = TensorFile::read(merged() / "model.safetensors");
  std::vector<TensorFile> parts(static_cast<std::size_t>(count));
  nlohmann::json weight_map;
  std::size_t total = 0;
  std::size_t next = 0;
  for (auto& [name, tensor] : whole.tensors) {
    const std::size_t part = next++ * parts.size() / whole.tensors.size();
    char file[64];
    std::snprintf(file, sizeof(file), "model-%05zu-of-%05d.safetensors", part + 1, count);
    weight_map[name] = file;
    total += tensor.bytes.size();
    parts[part].tensors[name] = std::move(tensor);
  }
  for (std::size_t part = 0; part < parts.size(); ++part) {
    char file[64];
    std::snprintf(file, sizeof(file), "model-%05zu-of-%05d.safetensors", part + 1, count);
    parts[part].write(merged() / file);
  }
  remove("merged/model.safetensors");
  const nlohmann::json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  write("merged/model.safetensors.index.json", index.dump(2));
}

Options World::options() const {
  Options options;
  options.merged = merged();
  options.base = base();
  options.adapter = adapter();
  if (fs::exists(path("served.gguf"))) {
    options.also = {path("served.gguf")};
  }
  return options;
}

void World::serve_gguf(const std::function<void(GgufWriter&)>& change) const {
  GgufWriter writer = gguf_of_llama(merged());
  if (change) {
    change(writer);
  }
  writer.write(path("served.gguf"));
}

void make_unknown(World& world) {
  for (const char* file : {"merged/config.json", "base/config.json"}) {
    world.edit(file, [](nlohmann::json& config) {
      config["model_type"] = "newcomer";
      config["architectures"] = {"NewcomerForCausalLM"};
    });
  }
}

std::vector<std::string> rules_above_note(const Result& result) {
  std::set<std::string> ids;
  for (const LintFinding& found : result.findings) {
    if (found.finding.severity != Severity::kNote) {
      ids.insert(found.finding.rule);
    }
  }
  return {ids.begin(), ids.end()};
}

std::string findings_text(const Result& result) {
  std::string text;
  for (const LintFinding& found : result.findings) {
    const Finding& finding = found.finding;
    if (finding.severity != Severity::kNote) {
      text += finding.rule + " [" + finding.subject + "] " + finding.message + " | expected " +
              finding.expected + " | actual " + finding.actual + "\n";
    }
  }
  return text;
}

}  // namespace mg::lint
