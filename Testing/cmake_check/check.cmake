# cmake -DSOURCE_DIR=... -DBINARY_DIR=... -P check.cmake: configures the extension on the stand-in of Slicer's macros.

foreach(_variable SOURCE_DIR BINARY_DIR)
  if(NOT ${_variable})
    message(FATAL_ERROR "${_variable} is needed")
  endif()
endforeach()
file(REMOVE_RECURSE ${BINARY_DIR})
execute_process(
  COMMAND ${CMAKE_COMMAND} -S ${SOURCE_DIR} -B ${BINARY_DIR} -DSlicer_DIR=${CMAKE_CURRENT_LIST_DIR}
          -DBreastCMSL_TAKE_NIIVUE=OFF
  RESULT_VARIABLE _status
  )
if(NOT _status EQUAL 0)
  message(FATAL_ERROR "the extension does not configure")
endif()
