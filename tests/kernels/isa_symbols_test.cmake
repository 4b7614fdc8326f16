# Every symbol that the objects of one instruction set define must lie in that set's namespace: a shared inline
# function compiled with AVX-512 could be the copy the linker keeps for code that runs everywhere.
# Run with -DNM=... -DISA=avx2 -DOBJECTS=a.o;b.o
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} --defined-only --extern-only -C ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE "\n" ";" lines "${symbols}")
  foreach(line IN LISTS lines)
    if(line MATCHES "^[0-9a-f]+ [A-Za-z] (.*)$" AND NOT CMAKE_MATCH_1 MATCHES "mg::cpu::${ISA}::")
      message(SEND_ERROR "${object} defines ${CMAKE_MATCH_1}")
    endif()
  endforeach()
endforeach()
