# SPDX-License-Identifier: Apache-2.0
# Manual pages. Sections 1 and 7 are written by hand, in docs/man. Section 3 is made from the comments of the public
# headers, into <build>/man/man3: a page for each header, an alias for each function; `man -M <build>/man weir_pool`.
# The pages of the command are packaged with the command, the rest for developers.

file(GLOB weir_pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.[1-9])
foreach(page ${weir_pages})
    string(REGEX MATCH "[1-9]$" section ${page})
    if(section EQUAL 1)
        set(component tools)
    else()
        set(component dev)
    endif()
    install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT ${component})
endforeach()

find_package(Python3 3.9 COMPONENTS Interpreter QUIET)
if(NOT Python3_FOUND)
    message(STATUS "weir: manual pages of section 3 are left out: python3 is missing")
    return()
endif()
file(GLOB weir_man_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/weir/*.h)
set(weir_man_made ${PROJECT_BINARY_DIR}/man/made)
add_custom_command(OUTPUT ${weir_man_made}
                   COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/cmake/man/pages ${PROJECT_BINARY_DIR}/man
                           ${PROJECT_VERSION} ${weir_man_headers}
                   COMMAND ${CMAKE_COMMAND} -E touch ${weir_man_made}
                   DEPENDS ${PROJECT_SOURCE_DIR}/cmake/man/pages ${PROJECT_SOURCE_DIR}/cmake/man/headers.py
                           ${weir_man_headers}
                   COMMENT "Manual pages of section 3" VERBATIM)
add_custom_target(weir_man ALL DEPENDS ${weir_man_made})
install(DIRECTORY ${PROJECT_BINARY_DIR}/man/man3 DESTINATION ${CMAKE_INSTALL_MANDIR} COMPONENT dev OPTIONAL
        FILES_MATCHING PATTERN "*.3")
