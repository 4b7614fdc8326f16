// A GPU for tests, on the host: device memory with guards and poison, streams that run at once or
// as late as they may, and blocks whose threads are fibers resumed in an order drawn from a seed.
// Programs that know nothing of it are steered by CUDA_ON_HOST_SEED, _DELAYED=1 and _DEVICES.
// Reached through the functions of include/cuda_runtime.h and include/cublasLt.h; this header is
// for the test that sets it up.
//
// What it catches, each as a Failure with the kernel's name (broken_kernels_test.cc plants them
// all): writes outside an allocation or a shared array (guards), reads past an allocation (a page
// that cannot be read: the process ends with a message), uninitialised memory (all bits set, a NaN
// in every float format and -1 as an index; copying it to the host fails outright), barriers that
// some threads do not reach or reach elsewhere, warp operations that a named lane does not join,
// copies from memory that is not pinned or was given back, launches the device would refuse.  A
// missing barrier or a missing event shows as results that differ by seed. Not for: speed, or races
// of several host threads (calls take one lock).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace mg::cuda_on_host {

struct Settings {
  std::uint64_t seed = 0;  // order of threads, blocks and streams
  bool delayed = false;    // streams run as late as waits allow, in an order drawn from the seed
  std::size_t memory_bytes = std::size_t{1} << 31;  // of each device
  int devices = 1;
  int capability = 90;  // 10 * major + minor
  int driver_version = 13000;
};

/// A fault of the code under test.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Starts from a fresh device; earlier allocations must be gone (else a Failure that counts them).
void reset(const Settings& settings);
/// Same device, other orders from here on.
void reseed(std::uint64_t seed, bool delayed);
/// From here on allocations fail once this much is in use.
void set_memory(std::size_t bytes);

struct Counts {
  std::size_t allocations = 0;            // live, device and pinned
  std::size_t bytes = 0;                  // live device memory
  std::size_t peak_bytes = 0;             // most since reset() or take_peak()
  std::size_t kernels = 0;                // launched since reset()
  std::size_t bytes_to_device = 0;        // copied since reset()
  std::map<int, std::size_t> bytes_of;    // of `bytes`, by device
  std::map<int, std::size_t> kernels_on;  // of `kernels`, by device
};
Counts counts();

/// "norm.cu:12": the barriers that blocks passed since reset().
std::set<std::string> barriers();
/// From here to reset() threads pass this barrier without waiting: a test of whether the kernels
/// need it, and of whether it would be missed.
void leave_out(const std::string& barrier);

/// Faults found where nothing could be thrown (in a destructor), and forgets them.
std::vector<std::string> take_failures();

}  // namespace mg::cuda_on_host
