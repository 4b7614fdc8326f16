#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/cli/subprocess.h"
#include "tests/model/scratch_model.h"

namespace mg {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const std::string kBase = std::string(MG_TEST_DATA) + "/golden/qwen2/base";

TEST(ProgramTest, SaysItsVersionAndCommit) {
  const RunResult result = run_mergegauge({"--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, testing::MatchesRegex("mergegauge [0-9]+\\.[0-9]+\\.[0-9]+ "
                                                "\\(([0-9a-f]+[+]?|unknown)\\)\n"));
  EXPECT_THAT(result.err, IsEmpty());
}

// The commands as the help lists them: name, two spaces or more, summary.
std::vector<std::string> command_names() {
  std::istringstream help(run_mergegauge({"--help"}).out);
  std::vector<std::string> names;
  bool commands = false;
  for (std::string line; std::getline(help, line);) {
    if (commands && line.starts_with("  ") && line[2] != ' ') {
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
    }
    commands = commands || line == "Subcommands:";
  }
  return names;
}

TEST(ProgramTest, EveryCommandHasHelpOfItsOwn) {
  const std::vector<std::string> names = command_names();
  EXPECT_THAT(names, testing::Contains("inspect"));
  for (const std::string& name : names) {
    const RunResult result = run_mergegauge({name, "--help"});
    EXPECT_EQ(result.exit_code, 0) << name;
    EXPECT_THAT(result.out, HasSubstr("Usage: mergegauge " + name));
    EXPECT_THAT(result.err, IsEmpty());
  }
}

TEST(ProgramTest, WithoutACommandItPrintsHelpAndFails) {
  const RunResult result = run_mergegauge({});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("inspect"));
}

TEST(ProgramTest, GuessesTheCommandThatWasMeant) {
  const RunResult result = run_mergegauge({"inspct", kBase});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("error[usage.unknown-command]: there is no such command\n"));
  EXPECT_THAT(result.err, HasSubstr("actual: inspct\n  hint:     did you mean \"inspect\"?\n"));
}

TEST(ProgramTest, RefusesAnUnknownOption) {
  const RunResult result = run_mergegauge({"inspect", kBase, "--jsn", "-"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.out, IsEmpty());
  EXPECT_THAT(result.err, HasSubstr("error[usage.arguments]: "));
  EXPECT_THAT(result.err, HasSubstr("--jsn"));
  EXPECT_THAT(result.err, HasSubstr("hint:     `mergegauge inspect --help` lists the options\n"));
}

TEST(ProgramTest, RefusesAMissingArgument) {
  const RunResult result = run_mergegauge({"inspect"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.err,
            "error[usage.arguments]: DIR is required\n"
            "  hint:     `mergegauge inspect --help` lists the options\n");
}

TEST(ProgramTest, OutputThatDoesNotArriveIsAFailure) {
  const RunResult result = run_mergegauge({"inspect", kBase}, {.out_path = "/dev/full"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(result.err,
            "error[output.cannot-write]: the output could not be written\n"
            "  where:    standard output\n"
            "  actual:   No space left on device\n"
            "  hint:     free some space, or write to another place\n");
}

constexpr const char* kEscape = "\x1b[";

TEST(ProgramTest, ColoursATerminalThatWantsIt) {
  const RunResult plain = run_mergegauge({"inspect", kBase});
  EXPECT_THAT(plain.out, testing::Not(HasSubstr(kEscape)));
  const RunResult colour = run_mergegauge(
      {"inspect", kBase}, {.environment = {{"NO_COLOR", ""}, {"TERM", "xterm"}}, .terminal = true});
  EXPECT_THAT(colour.out, HasSubstr(kEscape));
  const RunResult refused =
      run_mergegauge({"inspect", kBase},
                     {.environment = {{"NO_COLOR", "1"}, {"TERM", "xterm"}}, .terminal = true});
  EXPECT_THAT(refused.out, testing::Not(HasSubstr(kEscape)));
  const RunResult dumb = run_mergegauge(
      {"inspect", kBase}, {.environment = {{"NO_COLOR", ""}, {"TERM", "dumb"}}, .terminal = true});
  EXPECT_THAT(dumb.out, testing::Not(HasSubstr(kEscape)));
}

TEST(ProgramTest, TheTimeOfACheckHoldsItsBenchmarks) {
  const ScratchFolder folder;
  const std::string out = (folder.path() / "out").string();
  const RunResult done = run_mergegauge({"check", "--demo", "--bench", "--no-digests", "--tokens",
                                         "200", "--out", out, "--json", "-"});
  const auto report = nlohmann::json::parse(done.out);
  double sum = 0;
  double bench = 0;
  for (const auto& [name, seconds] : report["timing"]["phases"].items()) {
    sum += seconds.get<double>();
    bench += name == "bench" ? seconds.get<double>() : 0;
  }
  EXPECT_GT(bench, 0);
  EXPECT_GE(report["timing"]["wall_s"].get<double>(), sum * (1 - 1e-9));
}

}  // namespace
}  // namespace mg
