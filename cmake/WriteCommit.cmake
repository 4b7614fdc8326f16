# Writes the source behind build_commit() (harness/cli/version.h.in) at build time, only when the commit changed.
# cmake -DSOURCE_DIR=... -DOUTPUT=... -P WriteCommit.cmake
set(commit unknown)
find_package(Git QUIET)
if(GIT_FOUND)
  execute_process(COMMAND "${GIT_EXECUTABLE}" -C "${SOURCE_DIR}" describe --always --abbrev=8 --dirty=+ --exclude=*
                  OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE result)
  if(result EQUAL 0)
    set(commit "${described}")
  endif()
endif()
file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT [[
#include "harness/cli/version.h"

namespace mg {

std::string_view build_commit() { return "@commit@"; }

}  // namespace mg
]] @ONLY)
