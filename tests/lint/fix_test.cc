// Repairs: what they leave behind, that they change nothing twice, and that a folder survives being
// killed in the middle.
#include "harness/lint/fix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <set>
#include <span>

#include "harness/io/checkpoint.h"
#include "harness/io/digest.h"
#include "kernels/core/error.h"
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kVersion = "0.0.0";

/// Repairs until nothing is left to repair; the number of rounds that changed something.
int fix(const Options& options) {
  for (int rounds = 0;; ++rounds) {
    const Context context = open_context(options);
    const FixPlan plan = plan_fix(context, run(context, options));
    if (plan.edits.empty() || rounds == 5) {
      return rounds;
    }
    apply_fix(context, plan, kVersion, "mergegauge lint --fix");
  }
}

std::map<std::string, std::string> digests(const fs::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      all[entry.path().string()] = digest_file(entry.path()).sha256;
    }
  }
  return all;
}

class Repair : public ::testing::TestWithParam<Case> {};

TEST_P(Repair, LeavesNothingAboveANoteAndChangesNothingTwice) {
  World world(GetParam().source);
  GetParam().plant(world);
  Options options = world.options();
  options.server = GetParam().server;
  EXPECT_GE(fix(options), 1);
  const Result after = run(options);
  EXPECT_THAT(rules_above_note(after), IsEmpty()) << findings_text(after);
  const auto before = digests(world.path("."));
  EXPECT_EQ(fix(options), 0);
  EXPECT_EQ(digests(world.path(".")), before);
  EXPECT_NO_THROW(Checkpoint::open(world.merged()));
  const nlohmann::json record = load_json(world.merged() / kProvenanceFile);
  EXPECT_EQ(record["schema"], "mergegauge.provenance/1");
  EXPECT_EQ(record["repairs"][0]["rules"], nlohmann::json::array({GetParam().rule}));
  EXPECT_TRUE(record["repairs"][0]["complete"].get<bool>());
}

std::vector<Case> repairable_cases() {
  std::vector<Case> cases = all_cases();
  std::erase_if(cases, [](const Case& one) { return !one.repairable; });
  return cases;
}

std::string test_name(const ::testing::TestParamInfo<Case>& info) {
  std::string name = info.param.rule + "_" + info.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Lint, Repair, ::testing::ValuesIn(repairable_cases()), test_name);

/// The bytes of every tensor, by name.
std::map<std::string, std::string> tensor_bytes(const fs::path& file) {
  std::map<std::string, std::string> bytes;
  for (const auto& [name, tensor] : TensorFile::read(file).tensors) {
    bytes[name] = tensor.dtype + to_string(tensor.shape) + tensor.bytes;
  }
  return bytes;
}

TEST(SeedCase, LeftoverKeysAtEachDepthAreNamedAndRepaired) {
  World world("golden/qwen2-vl");
  const nlohmann::json key = {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};
  const auto nest = [&](nlohmann::json& c, bool leftover) {
    nlohmann::json text;
    for (const char* name :
         {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
          "num_key_value_heads", "rms_norm_eps", "rope_theta", "rope_scaling", "vocab_size",
          "max_position_embeddings", "hidden_act", "layer_types", "sliding_window",
          "use_sliding_window", "max_window_layers"}) {
      if (c.contains(name)) {
        text[name] = c[name];
        c.erase(name);
      }
    }
    c["text_config"] = text;
    if (leftover) {
      c["quantization_config"] = key;
      c["text_config"]["quantization_config"] = key;
      c["vision_config"]["quantization_config"] = key;
    }
  };
  world.edit("merged/config.json", [&](nlohmann::json& c) { nest(c, true); });
  world.edit("base/config.json", [&](nlohmann::json& c) { nest(c, false); });
  const Result before = world.lint();
  EXPECT_THAT(rules_above_note(before),
              ElementsAre("config.leftover-quantization", "config.leftover-quantization-nested"))
      << findings_text(before);
  EXPECT_THAT(findings_text(before), ::testing::HasSubstr("Unexpected weight: "));
  EXPECT_THAT(findings_text(before),
              ::testing::HasSubstr("Could not find the bitsandbytes CUDA binary"));
  const auto weights = tensor_bytes(world.merged() / "model.safetensors");
  EXPECT_EQ(fix(world.options()), 1);
  EXPECT_THAT(rules_above_note(world.lint()), IsEmpty());
  EXPECT_EQ(tensor_bytes(world.merged() / "model.safetensors"), weights);
  EXPECT_TRUE(load_json(world.merged() / "config.json.bak").contains("quantization_config"));
}

// The flat layout of the Hub's Qwen2-VL, into which an exporter wrote a text_config for the key.
TEST(SeedCase, AnObjectMadeForTheKeyAloneGoesWithIt) {
  World world("golden/qwen2-vl");
  const nlohmann::json original = load_json(world.merged() / "config.json");
  const nlohmann::json key = {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}};
  world.edit("merged/config.json", [&](nlohmann::json& c) {
    c["quantization_config"] = key;
    c["text_config"]["quantization_config"] = key;
    c["vision_config"]["quantization_config"] = key;
  });
  for (const bool with_base : {true, false}) {
    Options options = world.options();
    if (!with_base) {
      options.base.reset();
      options.adapter.reset();
    }
    const Result before = run(options);
    EXPECT_THAT(rules_above_note(before),
                ElementsAre("config.leftover-quantization", "config.leftover-quantization-nested"))
        << findings_text(before);
  }
  EXPECT_EQ(fix(world.options()), 1);
  EXPECT_THAT(rules_above_note(world.lint()), IsEmpty());
  EXPECT_EQ(load_json(world.merged() / "config.json"), original);
}

TEST(Fix, KeepsEveryByteOfTheConfigThatItDoesNotEdit) {
  World world("golden/qwen2");
  const std::string original =
      "{\n  \"architectures\": [\"Qwen2ForCausalLM\"],\n\t\"odd\" :  [ 1,2.50 ],\n"
      "  \"quantization_config\": {\"quant_method\": \"awq\"}\n}\n";
  world.write("merged/config.json", original);
  Options options;
  options.merged = world.merged();
  const Context context = open_context(options);
  FixPlan plan;
  plan.edits = {set_key("config.json", {"quantization_config"}, std::nullopt)};
  apply_fix(context, plan, kVersion, "");
  EXPECT_EQ(world.text("merged/config.json"),
            "{\n  \"architectures\": [\"Qwen2ForCausalLM\"],\n\t\"odd\" :  [ 1,2.50 ]\n}\n");
  EXPECT_EQ(world.text("merged/config.json.bak"), original);
}

TEST(Fix, ADryRunShowsADiffAndChangesNothing) {
  World world("golden/qwen2");
  world.edit("merged/config.json", [](nlohmann::json& c) { c["use_cache"] = false; });
  const auto before = digests(world.path("."));
  const Context context = open_context(world.options());
  const FixPlan plan = plan_fix(context, run(context, world.options()));
  ASSERT_EQ(plan.changes.size(), 1U);
  EXPECT_THAT(plan.changes[0].diff, ::testing::HasSubstr("-  \"use_cache\": false,\n"
                                                         "+  \"use_cache\": true,\n"));
  EXPECT_EQ(digests(world.path(".")), before);
}

TEST(Fix, ShardedRenamesKeepTheBytes) {
  World world("golden/qwen2");
  const auto original = tensor_bytes(world.merged() / "model.safetensors");
  world.edit_tensors([](TensorFile& f) {
    f.rename_all([](const std::string& name) { return "module." + name; });
  });
  world.shard(3);
  EXPECT_EQ(fix(world.options()), 1);
  const Result after = world.lint();
  EXPECT_THAT(rules_above_note(after), IsEmpty()) << findings_text(after);
  std::map<std::string, std::string> repaired;
  for (const auto& entry : fs::directory_iterator(world.merged())) {
    if (entry.path().extension() == ".safetensors") {
      repaired.merge(tensor_bytes(entry.path()));
    }
  }
  EXPECT_EQ(repaired, original);
}

TEST(Fix, WithoutPermissionSaysSoAndChangesNothing) {
  if (::geteuid() == 0) {
    GTEST_SKIP() << "root writes wherever it likes";
  }
  World world("golden/qwen2");
  world.edit("merged/config.json", [](nlohmann::json& c) { c["use_cache"] = false; });
  fs::permissions(world.merged(), fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THROW(fix(world.options()), Error);
  fs::permissions(world.merged(), fs::perms::owner_all);
}

/// What a loader gets of a folder: each text file, and the tensors that the index or the single
/// file leads to, or the error it stops with.
struct Seen {
  std::map<std::string, std::string> texts;
  std::map<std::string, std::string> tensors;
};

Seen look(const fs::path& folder) {
  Seen seen;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    const bool text = name.ends_with(".json") || name.ends_with(".jinja") || name.ends_with(".py");
    if (entry.is_regular_file() && text && !name.ends_with(".index.json") &&
        name != kProvenanceFile) {
      seen.texts[name] = digest_file(entry.path()).sha256;
    }
  }
  try {
    const Checkpoint checkpoint = Checkpoint::open(folder);
    for (const StoredTensor& tensor : checkpoint.tensors()) {
      const std::span bytes(reinterpret_cast<const std::byte*>(tensor.view.data),
                            tensor.view.bytes);
      seen.tensors[tensor.name] = digest_bytes(bytes);
    }
  } catch (const Error& error) {
    seen.tensors = {{"error", error.parts().code}};
  }
  return seen;
}

std::string text_in(const Seen& seen, const std::string& name) {
  const auto it = seen.texts.find(name);
  return it == seen.texts.end() ? "absent" : it->second;
}

/// Each text file is the old or the new one, and the tensors are those of the old or the new model.
void expect_old_or_new(const Seen& now, const Seen& before, const Seen& after) {
  std::set<std::string> names;
  for (const Seen* seen : {&now, &before, &after}) {
    for (const auto& [name, unused] : seen->texts) {
      names.insert(name);
    }
  }
  for (const std::string& name : names) {
    EXPECT_TRUE(text_in(now, name) == text_in(before, name) ||
                text_in(now, name) == text_in(after, name))
        << name;
  }
  EXPECT_TRUE(now.tensors == before.tensors || now.tensors == after.tensors)
      << now.tensors.size() << " tensors, first " << now.tensors.begin()->first;
}

/// Whether the call changes names in a folder: what a kill may fall between.  (Contents are written
/// to names that no loader looks for, whatever of them is there.)
bool changes_a_folder(const __ptrace_syscall_info& call) {
  switch (call.entry.nr) {
    case SYS_rename:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_link:
    case SYS_linkat:
    case SYS_symlink:
    case SYS_symlinkat:
    case SYS_unlink:
    case SYS_unlinkat:
    case SYS_mkdir:
    case SYS_mkdirat:
      return true;
    default:
      return false;
  }
}

enum class End { kFinished, kKilled, kFailed, kNotTraced };

/// Repairs in a process of its own that is killed just before its change number `change`.
End fix_until(const Options& options, int change) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
      ::_exit(3);
    }
    ::raise(SIGSTOP);
    int left = 2;
    try {
      fix(options);
      left = 0;
    } catch (...) {
    }
    ::_exit(left);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFSTOPPED(status)) {
    return End::kNotTraced;
  }
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  for (int seen = 0;;) {
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      return WEXITSTATUS(status) == 0 ? End::kFinished : End::kFailed;
    }
    if (!WIFSTOPPED(status)) {
      return End::kFailed;
    }
    __ptrace_syscall_info call{};
    const bool is_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
    if (is_call && ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(call), &call) > 0 &&
        call.op == PTRACE_SYSCALL_INFO_ENTRY && changes_a_folder(call) && seen++ == change) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return End::kKilled;
    }
  }
}

/// Kills the repair of one planted fault before each of its changes in turn, every time on a fresh
/// copy, and has it finished by a second run.  The number of kills.
int kill_everywhere(const std::function<void(World&)>& plant, const std::string& source,
                    const std::string& server) {
  const auto options_of = [&](const World& world) {
    Options options = world.options();
    options.server = server;
    return options;
  };
  World finished(source);
  plant(finished);
  const Seen before = look(finished.merged());
  fix(options_of(finished));
  const Seen after = look(finished.merged());
  for (int change = 0;; ++change) {
    World world(source);
    plant(world);
    const End end = fix_until(options_of(world), change);
    if (end == End::kNotTraced) {
      return -1;
    }
    EXPECT_NE(end, End::kFailed) << "the repair failed by itself";
    if (end != End::kKilled) {
      return change;
    }
    expect_old_or_new(look(world.merged()), before, after);
    fix(options_of(world));
    const Seen again = look(world.merged());
    EXPECT_EQ(again.texts, after.texts) << "finished after a kill before change " << change;
    EXPECT_EQ(again.tensors, after.tensors);
    if (::testing::Test::HasFailure()) {
      return change;
    }
  }
}

class KilledRepair : public ::testing::TestWithParam<Case> {};

TEST_P(KilledRepair, LeavesTheOldOrTheNewModelWhereverItStops) {
  const int kills = kill_everywhere(GetParam().plant, GetParam().source, GetParam().server);
  if (kills < 0) {
    GTEST_SKIP() << "this system does not let a process be traced";
  }
  EXPECT_GE(kills, 3);  // of the record, the repair, and the record again
}

INSTANTIATE_TEST_SUITE_P(Lint, KilledRepair, ::testing::ValuesIn(repairable_cases()), test_name);

TEST(KilledRepairs, OfSeveralFaultsInShardsAtOnce) {
  const auto plant = [](World& world) {
    world.edit_tensors([](TensorFile& f) {
      f.rename_all([](const std::string& name) { return "module." + name; });
    });
    world.edit("merged/config.json", [](nlohmann::json& c) { c["use_cache"] = false; });
    world.shard(3);
  };
  const int kills = kill_everywhere(plant, "golden/qwen2", "");
  if (kills < 0) {
    GTEST_SKIP() << "this system does not let a process be traced";
  }
  EXPECT_GE(kills, 10);
}

}  // namespace
}  // namespace mg::lint
