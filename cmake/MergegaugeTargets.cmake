# Two ways to make a target, so that every folder's CMakeLists.txt is a list of files and what they use.

# Warnings and numerics shared by all targets.  -ffp-contract=off: g++ contracts a*b+c to FMA by default,
# which would make results depend on inlining; kernels write their FMA explicitly.
add_library(mg_options INTERFACE)
target_include_directories(mg_options INTERFACE "${CMAKE_SOURCE_DIR}")
target_compile_options(mg_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wold-style-cast -Wdouble-promotion -ffp-contract=off
  $<$<BOOL:${MERGEGAUGE_WERROR}>:-Werror>)

# mg_library(NAME SOURCES a.cc b.cc USES mg_core PkgTarget)   a folder's static library (header-only: no SOURCES)
function(mg_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES;PRIVATE_USES" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC ${ARG_USES} PRIVATE mg_options ${ARG_PRIVATE_USES})
    target_include_directories(${name} PUBLIC "${CMAKE_SOURCE_DIR}")
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_USES})
    target_include_directories(${name} INTERFACE "${CMAKE_SOURCE_DIR}")
  endif()
endfunction()

# mg_test(NAME SOURCES a_test.cc USES mg_io LABELS fast)   a GoogleTest program; its cases appear in CTest one by one
function(mg_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;USES;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE mg_options ${ARG_USES} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE MG_TEST_DATA="${CMAKE_SOURCE_DIR}/tests")
  if(NOT ARG_LABELS)
    set(ARG_LABELS fast)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
