// A server to try `mergegauge bench --openai` on where none is at hand (docs/bench.md).
// usage: stand_in_server PORT MODEL[=SECONDS_A_TOKEN[,FAULT]]...
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/client/test_server.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s PORT MODEL[=SECONDS_A_TOKEN[,FAULT]]...\nfaults:", argv[0]);
    for (const std::string& fault : mg::test::stand_in_faults()) {
      std::fprintf(stderr, " %s", fault.c_str());
    }
    std::fprintf(stderr, "\n");
    return 2;
  }
  std::map<std::string, mg::test::Manner> models;
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    const std::size_t sign = word.find('=');
    mg::test::Manner& manner = models[word.substr(0, sign)];
    if (sign != std::string::npos) {
      const std::size_t comma = word.find(',', sign);
      manner.seconds_a_token = std::strtod(word.c_str() + sign + 1, nullptr);
      manner.fault = comma == std::string::npos ? "" : word.substr(comma + 1);
    }
  }
  const mg::test::TestServer server(mg::test::stand_in(models), std::atoi(argv[1]));
  std::printf("%s\n", server.url().c_str());
  std::fflush(stdout);
  for (;;) {
    ::pause();
  }
}
