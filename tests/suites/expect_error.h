// Runs a piece of code that must throw mg::Error and gives the printed message, so that tests
// assert it in full.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "kernels/core/error.h"

namespace mg {

template <typename Body>
std::string error_text(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no mg::Error was thrown";
  return "";
}

}  // namespace mg
