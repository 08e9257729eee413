# SPDX-License-Identifier: Apache-2.0
# cmake -D OUTPUT=FILE.h -D BUILD=TEXT -D ROOT=FOLDER -P backend_id.cmake
#
# Writes the header with the identity of this build's backend interface: what the program and a
# backend's module must agree on, because C++ objects pass between them.
file(GLOB headers RELATIVE ${ROOT} ${ROOT}/src/core/*.h ${ROOT}/src/backend/*.h)
list(SORT headers)
set(hashes "")
foreach(header IN LISTS headers)
  file(SHA256 ${ROOT}/${header} hash)
  string(APPEND hashes "${header} ${hash}\n")
endforeach()
string(SHA256 all "${hashes}")
string(SUBSTRING ${all} 0 16 interface)
set(text "#pragma once\n#define TAKT_BACKEND_ID \"${BUILD}, interface ${interface}\"\n")
set(before "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} before)
endif()
# Written only when it changes: whatever includes it would be compiled again.
if(NOT before STREQUAL text)
  file(WRITE ${OUTPUT} "${text}")
endif()
