// Quantiles and probabilities of the normal and Student's t distribution (Boost.Math behind a small
// door).
#pragma once

namespace mg {

double normal_cdf(double x);

/// 0 < probability < 1.
double normal_quantile(double probability);

/// Upper-tail convention of tables: t with P(T <= t) = probability.  `degrees` >= 1.
double student_t_quantile(double probability, double degrees);

}  // namespace mg
