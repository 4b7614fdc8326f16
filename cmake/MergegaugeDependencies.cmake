# Every outside dependency, all of them Debian packages (scripts/packages.txt).  Folders name the targets they use.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)  # nlohmann_json::nlohmann_json
find_package(Eigen3 3.4 REQUIRED NO_MODULE)  # Eigen3::Eigen
find_package(fmt REQUIRED)                 # fmt::fmt
find_package(Boost 1.74 REQUIRED)          # Boost::headers (Boost.Math)
find_package(CLI11 REQUIRED)               # CLI11::CLI11
find_package(OpenSSL REQUIRED COMPONENTS Crypto)  # OpenSSL::Crypto
find_package(SQLite3 REQUIRED)             # SQLite::SQLite3
find_package(CURL 7.85 REQUIRED)           # CURL::libcurl (7.85: CURLOPT_PROTOCOLS_STR)
find_package(PNG REQUIRED)                 # PNG::PNG
find_package(JPEG REQUIRED)                # JPEG::JPEG (libjpeg-turbo)

# oneDNN is only the yardstick of kernels/bench; without it the benchmarks build and leave its columns out.  Its own CMake
# package asks for OpenCL headers that its CPU part does not need: find the library itself.  It counts its threads by OpenMP.
find_path(DNNL_INCLUDE_DIR dnnl.h)
find_library(DNNL_LIBRARY dnnl)
find_package(OpenMP COMPONENTS CXX)
if(DNNL_INCLUDE_DIR AND DNNL_LIBRARY AND OpenMP_CXX_FOUND)
  add_library(DNNL::dnnl INTERFACE IMPORTED)
  set_target_properties(DNNL::dnnl PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${DNNL_INCLUDE_DIR}" INTERFACE_LINK_LIBRARIES "${DNNL_LIBRARY}")
endif()

pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)  # PkgConfig::PCRE2
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)  # PkgConfig::UTF8PROC

find_package(benchmark REQUIRED)  # benchmark::benchmark

if(MERGEGAUGE_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()
