# SPDX-License-Identifier: Apache-2.0
# Write HEADER with the commit that SOURCE is at; "+" behind it says that files differ from the commit.

cmake_minimum_required(VERSION 3.21)
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty=+ --abbrev=12
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE rc)
if(NOT rc EQUAL 0 OR commit STREQUAL "")
    set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${HEADER} @ONLY
     CONTENT "/* Written by the build. */\n#define WEIR_BENCH_COMMIT \"${commit}\"\n")
