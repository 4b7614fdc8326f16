#include "harness/lint/server_profile.h"

#include "kernels/core/error.h"

namespace mg::lint {

const ServerProfile& find_server(std::string_view name) {
  throw Error({.code = "server.unknown",
               .what = "there is no profile of this server",
               .where = {},
               .expected = {},
               .actual = std::string(name),
               .hint = {}},
              ErrorKind::kUsage);
}

}  // namespace mg::lint
