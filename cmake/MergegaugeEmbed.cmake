# mg_embed(TARGET FOLDER HEADER FUNCTION PATTERN...)   puts every file below FOLDER that matches a pattern into TARGET as
# bytes: an assembler file that includes them and the table behind FUNCTION() (declared in HEADER).
enable_language(ASM)

function(mg_embed target folder header name)
  list(TRANSFORM ARGN PREPEND "${folder}/" OUTPUT_VARIABLE patterns)
  file(GLOB_RECURSE files RELATIVE "${folder}" CONFIGURE_DEPENDS ${patterns})
  list(SORT files)
  set(assembler "  .section .note.GNU-stack,\"\",@progbits\n  .section .rodata\n")
  set(externs "")
  set(table "")
  set(index 0)
  foreach(file IN LISTS files)
    set(symbol "mg_${name}_${index}")
    string(APPEND assembler
      "  .balign 16\n  .globl ${symbol}\n${symbol}:\n  .incbin \"${folder}/${file}\"\n"
      "  .globl ${symbol}_end\n${symbol}_end:\n  .byte 0\n")
    string(APPEND externs "extern const char ${symbol}[];\nextern const char ${symbol}_end[];\n")
    string(APPEND table "    {\"${file}\", ${symbol}, ${symbol}_end},\n")
    list(APPEND inputs "${folder}/${file}")
    math(EXPR index "${index} + 1")
  endforeach()
  set(base "${CMAKE_CURRENT_BINARY_DIR}/${name}")
  file(CONFIGURE OUTPUT "${base}.S" CONTENT "${assembler}" @ONLY)
  file(CONFIGURE OUTPUT "${base}.cc" CONTENT
"#include \"${header}\"

extern \"C\" {
${externs}}

namespace mg {

std::span<const EmbeddedFile> ${name}() {
  static const EmbeddedFile kFiles[] = {
${table}  };
  return kFiles;
}

}  // namespace mg
" @ONLY)
  set_source_files_properties("${base}.S" PROPERTIES OBJECT_DEPENDS "${inputs}")
  target_sources(${target} PRIVATE "${base}.S" "${base}.cc")
endfunction()
