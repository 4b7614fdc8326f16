// Turns SIGBUS inside a watched mapping (the file was cut short, or its disk fails) into zeros and
// a flag. Everything else that raises SIGBUS goes to the handler that was installed before, or
// kills the process as usual. Used by MappedFile alone.  Tested in tests/io/mapped_file_test.cc.
#pragma once

#include <cstddef>

namespace mg::fault_guard {

/// Watches [begin, begin + bytes), a mapping of this process; returns its slot.  Installs the
/// handler on first use.  Throws an internal Error when thousands of files are mapped at once.
int watch(void* begin, std::size_t bytes);

/// Ends the watch; call before munmap.
void forget(int slot);

/// Whether a fault was absorbed in this mapping since watch().
bool faulted(int slot);

}  // namespace mg::fault_guard
