# mg_embed(TARGET FOLDER)   puts every file below FOLDER into TARGET as bytes: an assembler file that includes them
# and the table behind demo_files() (harness/run/demo_files.h).
enable_language(ASM)

function(mg_embed target folder)
  file(GLOB_RECURSE files RELATIVE "${folder}" CONFIGURE_DEPENDS "${folder}/*.json" "${folder}/*.jinja" "${folder}/*.safetensors")
  list(SORT files)
  set(assembler "  .section .note.GNU-stack,\"\",@progbits\n  .section .rodata\n")
  set(externs "")
  set(table "")
  set(index 0)
  foreach(file IN LISTS files)
    string(APPEND assembler
      "  .balign 16\n  .globl mg_demo_${index}\nmg_demo_${index}:\n  .incbin \"${folder}/${file}\"\n"
      "  .globl mg_demo_${index}_end\nmg_demo_${index}_end:\n  .byte 0\n")
    string(APPEND externs "extern const char mg_demo_${index}[];\nextern const char mg_demo_${index}_end[];\n")
    string(APPEND table "    {\"${file}\", mg_demo_${index}, mg_demo_${index}_end},\n")
    list(APPEND inputs "${folder}/${file}")
    math(EXPR index "${index} + 1")
  endforeach()
  set(base "${CMAKE_CURRENT_BINARY_DIR}/demo_files")
  file(CONFIGURE OUTPUT "${base}.S" CONTENT "${assembler}" @ONLY)
  file(CONFIGURE OUTPUT "${base}.cc" CONTENT
"#include \"harness/run/demo_files.h\"

extern \"C\" {
${externs}}

namespace mg {

std::span<const DemoFile> demo_files() {
  static const DemoFile kFiles[] = {
${table}  };
  return kFiles;
}

}  // namespace mg
" @ONLY)
  set_source_files_properties("${base}.S" PROPERTIES OBJECT_DEPENDS "${inputs}")
  target_sources(${target} PRIVATE "${base}.S" "${base}.cc")
endfunction()
