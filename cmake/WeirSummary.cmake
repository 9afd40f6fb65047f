# SPDX-License-Identifier: Apache-2.0
# One screen that says what this build contains and what it leaves out.

if(WEIR_CK_STATIC_IS_PIC)
    set(weir_ck_state "linked into libweir (${WEIR_CK_STATIC_LIBRARY})")
else()
    set(weir_ck_state "shared (${WEIR_CK_LIBRARY})")
endif()
if(NOT WEIR_JEMALLOC)
    set(weir_jemalloc_state "off")
elseif(JEMALLOC_FOUND)
    set(weir_jemalloc_state "found ${JEMALLOC_VERSION}: libweir_heap is built; never linked into libweir")
else()
    set(weir_jemalloc_state "not found (libjemalloc-dev): libweir_heap is left out")
endif()
if(NOT WEIR_TRACE)
    set(weir_trace_state "off")
elseif(WEIR_HAVE_SDT)
    set(weir_trace_state "on")
else()
    set(weir_trace_state "left out: sys/sdt.h is missing (systemtap-sdt-dev)")
endif()
if(NOT WEIR_BUILD_TESTING)
    set(WEIR_CRITERION_STATE "off")
endif()
if(NOT WEIR_SANITIZERS)
    set(weir_sanitizer_state "none")
else()
    string(REPLACE ";" ", " weir_sanitizer_state "${WEIR_SANITIZERS}")
endif()

if(TARGET weir_ucx)
    set(weir_ucx_state "libweir_ucx (UCX ${UCX_VERSION})")
else()
    set(weir_ucx_state "left out: libucx-dev or libssl-dev is missing")
endif()

message(STATUS "weir ${PROJECT_VERSION}
   build type       ${CMAKE_BUILD_TYPE} (${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION})
   sanitizers       ${weir_sanitizer_state}
   WEIR_CUDA        ${WEIR_CUDA}
   WEIR_CHECK       ${WEIR_CHECK}
   WEIR_TRACE       ${weir_trace_state}
   WEIR_JEMALLOC    ${weir_jemalloc_state}
   UCX              ${weir_ucx_state}
   tests            ${WEIR_CRITERION_STATE}
   Concurrency Kit  ${weir_ck_state}
   weir command     ${WEIR_TOOL_STATE}")
