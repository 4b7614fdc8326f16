#include "tests/cli/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace mg {
namespace {

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  Pipe() {
    std::array<int, 2> ends = {};
    if (::pipe(ends.data()) != 0) {
      throw std::runtime_error("pipe");
    }
    read_end = ends[0];
    write_end = ends[1];
  }
};

[[noreturn]] void run_child(const std::vector<std::string>& arguments, const RunOptions& options) {
  for (const auto& [name, value] : options.environment) {
    ::setenv(name.c_str(), value.c_str(), 1);
  }
  std::vector<char*> argv;
  std::string program = MG_PROGRAM;
  argv.push_back(program.data());
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));  // NOLINT: execv's signature
  }
  argv.push_back(nullptr);
  ::execv(MG_PROGRAM, argv.data());
  ::_exit(127);
}

// Reads both until both end; a closed terminal reads as an error.
void drain(int out, int err, RunResult& result) {
  std::array<pollfd, 2> ends = {pollfd{out, POLLIN, 0}, pollfd{err, POLLIN, 0}};
  std::array<std::string*, 2> texts = {&result.out, &result.err};
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    if (::poll(ends.data(), ends.size(), -1) < 0) {
      throw std::runtime_error("poll");
    }
    for (std::size_t i = 0; i < ends.size(); ++i) {
      if (ends[i].fd < 0 || ends[i].revents == 0) {
        continue;
      }
      std::array<char, 4096> buffer = {};
      const ssize_t count = ::read(ends[i].fd, buffer.data(), buffer.size());
      if (count > 0) {
        texts[i]->append(buffer.data(), static_cast<std::size_t>(count));
      } else if (count == 0 || errno != EINTR) {
        ::close(ends[i].fd);
        ends[i].fd = -1;
      }
    }
  }
}

int wait_for(pid_t child) {
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

RunResult run_on_terminal(const std::vector<std::string>& arguments, const RunOptions& options) {
  int master = -1;
  winsize size = {};
  size.ws_row = 40;
  size.ws_col = 100;
  const pid_t child = ::forkpty(&master, nullptr, nullptr, &size);
  if (child < 0) {
    throw std::runtime_error("forkpty");
  }
  if (child == 0) {
    run_child(arguments, options);
  }
  RunResult result;
  drain(master, -1, result);
  result.exit_code = wait_for(child);
  return result;
}

}  // namespace

RunResult run_mergegauge(const std::vector<std::string>& arguments, const RunOptions& options) {
  if (options.terminal) {
    return run_on_terminal(arguments, options);
  }
  const Pipe in;
  const Pipe out;
  const Pipe err;
  if (::write(in.write_end, options.input.data(), options.input.size()) !=
      static_cast<ssize_t>(options.input.size())) {
    throw std::runtime_error("write");
  }
  ::close(in.write_end);
  const pid_t child = ::fork();
  if (child < 0) {
    throw std::runtime_error("fork");
  }
  if (child == 0) {
    int target = out.write_end;
    if (!options.out_path.empty()) {
      target = ::open(options.out_path.c_str(), O_WRONLY);
    }
    ::dup2(in.read_end, STDIN_FILENO);
    ::dup2(target, STDOUT_FILENO);
    ::dup2(err.write_end, STDERR_FILENO);
    ::close(in.read_end);
    ::close(out.read_end);
    ::close(err.read_end);
    ::close(out.write_end);
    ::close(err.write_end);
    run_child(arguments, options);
  }
  ::close(in.read_end);
  ::close(out.write_end);
  ::close(err.write_end);
  RunResult result;
  drain(out.read_end, err.read_end, result);
  result.exit_code = wait_for(child);
  return result;
}

}  // namespace mg
