// The clock of benchmarks.  With one thread it is that thread's own processor time, which others on
// the machine hardly disturb; with several, the wall's.
#pragma once

#include <ctime>

namespace mg::bench {

class Clock {
 public:
  explicit Clock(int threads) : id_(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC) {}

  template <typename Call>
  double seconds(const Call& call) const {
    const double start = now();
    call();
    return now() - start;
  }

 private:
  double now() const {
    timespec t{};
    clock_gettime(id_, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }

  clockid_t id_;
};

}  // namespace mg::bench
