#include "harness/metrics/distributions.h"

#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>

#include "kernels/core/error.h"

namespace mg {
namespace {

// Plain double throughout: promoted long doubles differ between platforms.
using Policy = boost::math::policies::policy<boost::math::policies::promote_double<false>>;

}  // namespace

double normal_cdf(double x) {
  return boost::math::cdf(boost::math::normal_distribution<double, Policy>(), x);
}

double normal_quantile(double probability) {
  MG_CHECK(probability > 0.0 && probability < 1.0, "a probability inside (0, 1)");
  return boost::math::quantile(boost::math::normal_distribution<double, Policy>(), probability);
}

double student_t_quantile(double probability, double degrees) {
  MG_CHECK(probability > 0.0 && probability < 1.0, "a probability inside (0, 1)");
  MG_CHECK(degrees >= 1.0, "at least one degree of freedom");
  return boost::math::quantile(boost::math::students_t_distribution<double, Policy>(degrees),
                               probability);
}

}  // namespace mg
