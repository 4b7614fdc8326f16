# Three ways to make a target, so that every folder's CMakeLists.txt is a list of files and what they use.

# Warnings and numerics shared by all targets.  -ffp-contract=off: g++ contracts a*b+c to FMA by default,
# which would make results depend on inlining; kernels write their FMA explicitly.
add_library(mg_options INTERFACE)
target_include_directories(mg_options INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(mg_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wold-style-cast -Wdouble-promotion -ffp-contract=off
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # g++ 12 warns of memcpy in "text" + std::string (GCC bug 105651)
  $<$<BOOL:${MERGEGAUGE_WERROR}>:-Werror>)

# With MERGEGAUGE_UNITY a target's files are compiled sixteen at a time: most of a file's compile time is the headers of JSON,
# Eigen, GoogleTest and formatting. Names of anonymous namespaces are therefore unique within a target. SEPARATE names files
# that must not share: rows of a table that all use the same names, what is generated anew with every commit, what g++ warns
# of outside the main file.
function(mg_unity name)
  if(MERGEGAUGE_UNITY)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 16)
    foreach(file IN LISTS ARGN)
      set_source_files_properties("${file}" PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endforeach()
  endif()
endfunction()

# For what handles text, JSON and reports, whose run time nobody waits for: a third less to compile than -O3.
function(mg_cold name)
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()

# For the tests' own code, whose work is done in the libraries under test: half of -O1's time to compile.
function(mg_test_code name)
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-Og>)
endfunction()

# Folders are added bottom up (CMakeLists.txt at the root), so a folder that does not exist yet lies above: a link upward.
function(mg_check_downward name)
  foreach(used IN LISTS ARGN)
    if(used MATCHES "^mg_" AND NOT TARGET ${used})
      message(FATAL_ERROR "${name} uses ${used}, which is not below it (DESIGN.md section 4)")
    endif()
  endforeach()
endfunction()

# mg_library(NAME SOURCES a.cc b.cc USES mg_core PkgTarget [SEPARATE c.cc] [COLD])   a folder's static library
# (header-only: no SOURCES); COLD as mg_cold says.
function(mg_library name)
  cmake_parse_arguments(ARG "COLD" "" "SOURCES;SEPARATE;USES;PRIVATE_USES" ${ARGN})
  mg_check_downward(${name} ${ARG_USES} ${ARG_PRIVATE_USES})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES} ${ARG_SEPARATE})
    mg_unity(${name} ${ARG_SEPARATE})
    target_link_libraries(${name} PUBLIC ${ARG_USES} PRIVATE mg_options ${ARG_PRIVATE_USES})
    target_include_directories(${name} PUBLIC "${CMAKE_SOURCE_DIR}")
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    if(ARG_COLD)
      mg_cold(${name})
    endif()
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_USES})
    target_include_directories(${name} INTERFACE "${CMAKE_SOURCE_DIR}")
  endif()
endfunction()

# mg_test(NAME SOURCES a_test.cc USES mg_io LABELS fast)   a GoogleTest program; its cases appear in CTest one by one
# Labels: fast (default) golden slow gpu real emulated; threads beside one of them where the thread sanitizer should look too.
add_custom_target(thread_tests)
function(mg_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;USES;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS fast)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  mg_unity(${name})
  target_link_libraries(${name} PRIVATE mg_options ${ARG_USES} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE MG_TEST_DATA="${CMAKE_SOURCE_DIR}/tests")
  mg_test_code(${name})
  if("threads" IN_LIST ARG_LABELS)
    add_dependencies(thread_tests ${name})
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  # Labels by a script of our own, which ctest reads after the discovered tests: gtest_discover_tests flattens a list.
  set(script "${CMAKE_CURRENT_BINARY_DIR}/${name}_labels.cmake")
  file(WRITE "${script}" "foreach(test IN LISTS ${name}_TESTS)
  set_tests_properties(\"\${test}\" PROPERTIES LABELS \"${ARG_LABELS}\")
endforeach()
")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${script}")
endfunction()

# mg_bench(NAME SOURCE...)   a program that measures, or writes what is measured: built by the target benchmarks, not by default
add_custom_target(benchmarks)
function(mg_bench name)
  add_executable(${name} EXCLUDE_FROM_ALL ${ARGN})
  add_dependencies(benchmarks ${name})
endfunction()

# mg_fuzz(NAME SOURCES a_fuzz.cc USES mg_io CORPUS corpus)   a function LLVMFuzzerTestOneInput(data, size)
# With MERGEGAUGE_FUZZERS (preset fuzz) a libFuzzer program, otherwise one that replays the corpus folder (relative to the
# caller's, committed) once: a corpus file that ever crashed stays a test in every build.  Label: fuzz.
add_custom_target(fuzzers)
function(mg_fuzz name)
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;USES" ${ARGN})
  set(corpus "${CMAKE_CURRENT_SOURCE_DIR}/${ARG_CORPUS}")
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE mg_options ${ARG_USES})
  mg_test_code(${name})
  add_dependencies(fuzzers ${name})
  if(MERGEGAUGE_FUZZERS)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    set(found "${CMAKE_CURRENT_BINARY_DIR}/${name}.found")  # inputs it discovers; the committed corpus stays as it is
    file(MAKE_DIRECTORY "${found}")
    add_test(NAME ${name} COMMAND ${name} -runs=20000 -seed=1 -timeout=10 "${found}" "${corpus}")
  else()
    target_link_libraries(${name} PRIVATE mg_replay)
    add_test(NAME ${name} COMMAND ${name} "${corpus}")
  endif()
  set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 300)
endfunction()
