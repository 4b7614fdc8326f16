// Compiled headers hang on a target, and a target has a file (mg_common_headers).
