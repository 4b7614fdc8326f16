// A directory whose listing breaks off.  A program of its own: it stands in for readdir, which
// libstdc++ calls through the dynamic linker, so that the error comes from where a failing disk or
// share would put it.
#include <dirent.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

#include "harness/io/folder.h"
#include "tests/io/temp_folder.h"

namespace {

int calls = 0;
int failing_call = 0;  // counted from 1; 0: none

}  // namespace

extern "C" dirent* readdir(DIR* folder) {
  if (++calls == failing_call) {
    errno = EIO;
    return nullptr;
  }
  using Function = dirent* (*)(DIR*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "readdir"));
  return real(folder);
}

namespace mg {
namespace {

TEST(FolderReadError, AtAnyEntryIsAnErrorAndNeverAShortList) {
  const TempFolder folder;
  for (const char* name : {"a.json", "b.json", "c.json", "d.json"}) {
    folder.write(name, "{}");
  }
  const auto list = [&] { list_folder(folder.path(), "a model folder"); };
  calls = 0;
  ASSERT_EQ(folder.error_of(list), "no error");
  const int all = calls;
  ASSERT_GE(all, 8) << "readdir of this program was not used";
  for (int i = 1; i <= all; ++i) {
    calls = 0;
    failing_call = i;
    const std::string text = folder.error_of(list);
    failing_call = 0;
    const std::string start =
        "error[folder.unreadable]: the folder cannot be read\n"
        "  where:    DIR\n"
        "  expected: a model folder   actual: Input/output error\n";
    EXPECT_EQ(text.substr(0, start.size()), start) << "call " << i << " of " << all;
    if (i == all - 1) {
      EXPECT_EQ(text.substr(start.size()),
                "  hint:     the disk or the network share failed; read it again");
    }
  }
}

}  // namespace
}  // namespace mg
