# SPDX-License-Identifier: Apache-2.0
# Language and flags of everything that is compiled here: the interface target weir_build_flags.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Link time optimisation needs fat objects, because libweir.a must serve linkers without the plug-in.
if(CMAKE_INTERPROCEDURAL_OPTIMIZATION)
    if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
        add_compile_options(-ffat-lto-objects)
    else()
        message(STATUS "weir: link time optimisation is off (needs gcc's fat objects)")
        set(CMAKE_INTERPROCEDURAL_OPTIMIZATION OFF)
    endif()
endif()

# Sanitizers and coverage are chosen by a preset's compiler flags; some decisions depend on which.
set(WEIR_SANITIZERS "")
foreach(name address undefined thread)
    if("${CMAKE_C_FLAGS}" MATCHES "-fsanitize=[a-z,]*${name}")
        list(APPEND WEIR_SANITIZERS ${name})
    endif()
endforeach()
set(WEIR_INSTRUMENTED OFF)
if(WEIR_SANITIZERS OR "${CMAKE_C_FLAGS}" MATCHES "--coverage")
    set(WEIR_INSTRUMENTED ON)
endif()

add_library(weir_build_flags INTERFACE)
target_compile_options(weir_build_flags INTERFACE -Wall -Wextra -Wstrict-prototypes)
target_compile_definitions(weir_build_flags INTERFACE _GNU_SOURCE WI_CHECK_LEVEL=${WEIR_CHECK})
# Paths in messages start at the project's root, wherever it was built.
target_compile_options(weir_build_flags INTERFACE -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(WEIR_CUDA)
    target_compile_definitions(weir_build_flags INTERFACE WI_CUDA=1)
endif()
if(NOT WEIR_TRACE)
    target_compile_definitions(weir_build_flags INTERFACE WI_TRACE_OFF=1)
endif()
if(WEIR_TRACE AND WEIR_HAVE_SDT)
    target_compile_definitions(weir_build_flags INTERFACE WI_TRACE=1)
endif()
# Concurrency Kit's double-width compare and swap.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$")
    target_compile_options(weir_build_flags INTERFACE -mcx16)
endif()
