# SPDX-License-Identifier: Apache-2.0
# Every test once more with WEIR_BACKEND=cuda over the driver double, as fakecuda.<name>. A test that is
# registered later joins by itself. What is left out is named here with its reason, and in the file
# fakecuda_left_out.txt of the build folder.

# <pattern of test names> <reason>
set(left_out
    "^(base|sync)\\." "opens no device"
    "^tools\\.(histogram|info|stamp|trace|workload)" "opens no device"
    "^(abi|dev|models|format|docs|proof)\\." "opens no device"
    "^stress\\.(records|policy_trace)" "opens no device"
    "^tier\\.(hazard|policy|pressure)" "opens no device"
    "^device\\.(emu|host)" "is about the emulated device itself (device.cuda_conformance is its like)"
    "^stress\\.(device_storm|conformance)" "is about the emulated device itself"
    "^device\\.(cuda|fakecuda|conformance_)" "uses the cuda backend already"
    "^(runtime\\.(cuda|driver|capture)|pool\\.stream_cuda|fault_sweep|gpu)" "uses the cuda backend already"
    "^device\\.abi_check" "opens no device"
    "^memory\\." "brings devices of its own"
    "^stress\\.(slabs|first_use)" "brings devices of its own, or opens none"
    "^pool\\.(store|ticks)$" "opens no device"
    "^(tools\\.blocks|stress\\.tiered)$" "looks into device memory from the host, which the double does not show"
    "^fuzz\\." "names the host backend itself, or opens no device"
    "^ucx\\." "is about UCX, which moves host memory here whatever the backend"
    "^bench\\." "measures: over the double it would measure the double"
    "^stress\\.retire_" "uses the double already"
    "_planted$" "has to fail, and that test is here"
    "^tsan\\.planted" "plants races in the library, not in a backend"
    "_(without_slots|many_slots|unchecked|biased)$" "is a test in another environment, and that test is here"
    "_paused" "is a test with pauses, and that test is here"
)

# reason_of <name> <out> - why this test is left out; empty: it is not
function(reason_of name out)
    set(rest ${left_out})
    set(${out} "" PARENT_SCOPE)
    while(rest)
        list(POP_FRONT rest pattern reason)
        if(name MATCHES "${pattern}")
            set(${out} "${reason}" PARENT_SCOPE)
            return()
        endif()
    endwhile()
endfunction()

set(report "")
set(again 0)
# Which folders there are depends on the build: under ThreadSanitizer there is no bench.
get_property(folders DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} PROPERTY SUBDIRECTORIES)
foreach(folder ${CMAKE_CURRENT_SOURCE_DIR} ${folders} ${PROJECT_SOURCE_DIR}/stress)
    get_property(names DIRECTORY ${folder} PROPERTY TESTS)
    foreach(name IN LISTS names)
        if(name MATCHES "^fakecuda\\.")
            continue()
        endif()
        reason_of(${name} reason)
        get_property(command GLOBAL PROPERTY WEIR_PLAIN_${name})
        string(REPLACE "." "_" target test_${name})
        if(NOT reason AND TARGET ${target})
            set(command ${target})
        endif()
        if(NOT reason AND NOT command)
            set(reason "is not a program of this build")
        endif()
        if(reason)
            string(APPEND report "${name}: ${reason}\n")
            continue()
        endif()
        add_test(NAME fakecuda.${name} COMMAND ${command})
        weir_test_properties(fakecuda.${name} 300 fakecuda again)
        # A double for another wait, and the serial ones stay alone.
        get_test_property(${name} RUN_SERIAL serial)
        if(serial STREQUAL "NOTFOUND")
            set(serial OFF)
        endif()
        set_tests_properties(fakecuda.${name} PROPERTIES RUN_SERIAL "${serial}")
        set_property(TEST fakecuda.${name} APPEND PROPERTY ENVIRONMENT
                     WEIR_BACKEND=cuda WEIR_CUDA_LIBRARY=$<TARGET_FILE:fakecuda>)
        math(EXPR again "${again} + 1")
    endforeach()
endforeach()
file(WRITE ${PROJECT_BINARY_DIR}/fakecuda_left_out.txt "${report}")
message(STATUS "weir: ${again} tests run over the driver double too; fakecuda_left_out.txt says which do not, and why")
