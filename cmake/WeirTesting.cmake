# SPDX-License-Identifier: Apache-2.0
# How tests are declared. Each has a time limit and labels: its layer, and `criterion` or `plain`.
#
#   weir_test(<layer> <name> [TIMEOUT seconds] [SERIAL] [SHAPES] [BIASED] [extra sources])
#       test/<layer>/test_<name>.c with Criterion, against weir_static, so that internals are in reach.
#       CTest name: <layer>.<name>. Target: test_<layer>_<name>. SHAPES: three times more, with the free
#       store in its other shapes: without slots, so that all goes through the shared queue; with more
#       slots than CPUs; without the checks that take every lease off the short path. BIASED: once more,
#       with buffers that belong to one CPU whenever they can.
#   weir_test_again(<layer> <name> <as> <variable=value>...)
#       the same program once more in another environment. CTest name: <layer>.<name>_<as>.
#   weir_stress(<name> [extra sources])
#       the plain program stress/<name>.c. Target: stress_<name>, file: <build>/stress/<name>.
#   weir_plain_test(<test name> <stress name> [TIMEOUT seconds] [SERIAL]
#                   [LABELS ...] [ARGS ...])
#       runs a stress program as a test; its exit code decides.
#   weir_shared_libraries(<variable>)
#       the shared libraries that this build makes, as files: libweir, and those that stand on it.
#
# TIMEOUT is 60 if not given, and for a quiet machine. SERIAL: no other test runs meanwhile.

# Criterion 2.4 cannot start under ThreadSanitizer (its shared arena collides with the shadow memory).
set(WEIR_USE_CRITERION OFF)
if(WEIR_BUILD_TESTING)
    if("thread" IN_LIST WEIR_SANITIZERS)
        set(WEIR_CRITERION_STATE "skipped: Criterion does not start under ThreadSanitizer")
    elseif(NOT CRITERION_FOUND)
        set(WEIR_CRITERION_STATE "skipped: Criterion is missing (libcriterion-dev)")
    elseif(NOT JANSSON_FOUND)
        set(WEIR_CRITERION_STATE "skipped: jansson is missing (libjansson-dev)")
    else()
        set(WEIR_USE_CRITERION ON)
        set(WEIR_CRITERION_STATE "Criterion ${CRITERION_VERSION}")
    endif()
endif()

# Every test runs at the build's check level, whatever the caller's environment says. A sanitizer must
# let the library see a failed allocation. A program that answers 77 says that it cannot run here. A
# time limit is there to end a hang, so a busy machine gets three times what a quiet one needs.
function(weir_test_properties name timeout)
    math(EXPR timeout "3 * ${timeout}")
    set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} LABELS "${ARGN}" SKIP_RETURN_CODE 77
        ENVIRONMENT "WEIR_CHECK=${WEIR_CHECK};ASAN_OPTIONS=allocator_may_return_null=1;\
UBSAN_OPTIONS=print_stacktrace=1;TSAN_OPTIONS=allocator_may_return_null=1:second_deadlock_stack=1")
endfunction()

function(weir_test layer name)
    if(NOT WEIR_USE_CRITERION)
        return()
    endif()
    cmake_parse_arguments(PARSE_ARGV 2 arg "SERIAL;SHAPES;BIASED" "TIMEOUT" "")
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    set(target test_${layer}_${name})
    add_executable(${target} ${PROJECT_SOURCE_DIR}/test/${layer}/test_${name}.c
                   ${arg_UNPARSED_ARGUMENTS})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/test)
    target_link_libraries(${target} PRIVATE weir_internal PkgConfig::CRITERION)
    add_test(NAME ${layer}.${name} COMMAND ${target})
    weir_test_properties(${layer}.${name} ${arg_TIMEOUT} ${layer} criterion)
    set_tests_properties(${layer}.${name} PROPERTIES RUN_SERIAL ${arg_SERIAL})
    if(arg_SHAPES)
        weir_test_again(${layer} ${name} without_slots WEIR_SLOTS=0)
        weir_test_again(${layer} ${name} many_slots WEIR_SLOTS=256)
        weir_test_again(${layer} ${name} unchecked WEIR_CHECK=0)
    endif()
    if(arg_BIASED)
        weir_test_again(${layer} ${name} biased WEIR_CHECK=0 WEIR_BIAS=2)
    endif()
endfunction()

function(weir_test_again layer name as)
    if(NOT WEIR_USE_CRITERION)
        return()
    endif()
    add_test(NAME ${layer}.${name}_${as} COMMAND test_${layer}_${name})
    weir_test_properties(${layer}.${name}_${as} 120 ${layer} again shape criterion)
    set_property(TEST ${layer}.${name}_${as} APPEND PROPERTY ENVIRONMENT ${ARGN})
endfunction()

function(weir_stress name)
    set(target stress_${name})
    add_executable(${target} ${PROJECT_SOURCE_DIR}/stress/${name}.c ${ARGN})
    target_link_libraries(${target} PRIVATE weir_internal)
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name})
endfunction()

function(weir_plain_test name program)
    cmake_parse_arguments(PARSE_ARGV 2 arg "SERIAL" "TIMEOUT" "LABELS;ARGS")
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    add_test(NAME ${name} COMMAND stress_${program} ${arg_ARGS})
    set_property(GLOBAL PROPERTY WEIR_PLAIN_${name} stress_${program} ${arg_ARGS})
    weir_test_properties(${name} ${arg_TIMEOUT} plain ${arg_LABELS})
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ${arg_SERIAL})
endfunction()

function(weir_shared_libraries out)
    set(files $<TARGET_FILE:weir>)
    foreach(library weir_heap weir_ucx)
        if(TARGET ${library})
            list(APPEND files $<TARGET_FILE:${library}>)
        endif()
    endforeach()
    set(${out} ${files} PARENT_SCOPE)
endfunction()
