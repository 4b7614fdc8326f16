# The CUDA backend with nvcc: MERGEGAUGE_CUDA=AUTO builds it where the CUDA Toolkit is, ON demands it, OFF leaves it out.
# The toolkit is needed here alone: the program neither links nor includes any of it.
set(MERGEGAUGE_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO (where nvcc and cuBLAS are found), ON, OFF")
set_property(CACHE MERGEGAUGE_CUDA PROPERTY STRINGS AUTO ON OFF)

function(mg_cuda_missing what)
  if(MERGEGAUGE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "MERGEGAUGE_CUDA=ON, but ${what}")
  endif()
  message(STATUS "CUDA backend: left out, ${what}")
endfunction()

if(MERGEGAUGE_CUDA STREQUAL "OFF")
  return()
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100)  # and PTX of the last, for what comes after
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  mg_cuda_missing("there is no nvcc that works")
  return()
endif()
find_package(CUDAToolkit QUIET)
if(NOT TARGET CUDA::cublasLt OR NOT TARGET CUDA::cudart_static)
  mg_cuda_missing("there is no cuBLASLt or no static CUDA runtime beside nvcc")
  return()
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
message(STATUS "CUDA backend: nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")

add_library(mergegauge_cuda SHARED ${MG_CUDA_SOURCES} ${MG_CUDA_KERNELS})
target_link_libraries(mergegauge_cuda PRIVATE
  mg_contract "$<BUILD_INTERFACE:mg_cuda_options>" CUDA::cudart_static CUDA::cublasLt)
set_target_properties(mergegauge_cuda PROPERTIES
  CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
  CUDA_STANDARD 20 CUDA_EXTENSIONS OFF CUDA_RUNTIME_LIBRARY Static
  LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
target_link_options(mergegauge_cuda PRIVATE -Wl,--no-undefined -Wl,--exclude-libs,ALL)

# -fmad=false: kernels write their FMA explicitly, and their bits are the host emulation's.
add_library(mg_cuda_options INTERFACE)
target_compile_options(mg_cuda_options INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false -Xptxas=-v,--warn-on-spills -Xcompiler=-Wall,-Wextra,-ffp-contract=off
    $<$<BOOL:${MERGEGAUGE_WERROR}>:--Werror=all-warnings>>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wconversion -Wold-style-cast -Wdouble-promotion -ffp-contract=off
    $<$<BOOL:${MERGEGAUGE_WERROR}>:-Werror>>)
target_include_directories(mg_cuda_options SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
install(TARGETS mergegauge_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_PREFIX}/lib/mergegauge)
